/** Runs in snapctr. Makes functions' files ready for the VMM, by the builder. */
import { LATEST } from '../../protocol/arn.ts';
import { messageOf } from '../../protocol/errors.ts';
import type { RuntimeName } from '../../protocol/runtimes.ts';
import { capabilitiesOf, type VmmWish } from '../../protocol/vmms.ts';
import type { Build } from '../../registry/deployments.ts';
import type { Logger } from '../log.ts';
import type { BuilderClient } from './builder-client.ts';

/**
 * Directories of functions become images, for VMs, or staged directories with their dependencies, for plain processes.
 * Both are cached by content; a directory that several functions name is looked at once by one `Build`.
 */
export function createBuild(builder: BuilderClient, vmm: VmmWish, logger: Logger): Build {
  const prepared = new Map<string, Promise<string>>();
  const { appfs } = capabilitiesOf(vmm);
  const prepare = (directory: string, runtime: RuntimeName | null): Promise<string> => {
    const key = `${runtime ?? ''} ${directory}`;
    const observer = {
      onProgress: (text: string): void => logger.info(`${directory}: ${text}`),
      onNote: (text: string): void => logger.warn(`${directory}: ${text}`),
    };
    const preparing =
      prepared.get(key) ?? builder.build({ directory, runtime, appfs }, observer).then(({ path }) => path);
    prepared.set(key, preparing);
    return preparing;
  };
  return async (fn) => {
    if (fn.appfs?.kind !== 'directory') return Object.freeze({ ...fn, version: LATEST });
    const directory = fn.appfs.path;
    try {
      const path = await prepare(directory, fn.runtime);
      return Object.freeze({ ...fn, version: LATEST, appfs: { kind: appfs, path } });
    } catch (error) {
      throw new Error(`${directory} cannot be made ready: ${messageOf(error)}`, { cause: error });
    }
  };
}
