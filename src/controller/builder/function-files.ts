/** Runs in snapctr. Makes functions' files ready for the VMM, by the builder. */
import type { BuildRequest, BuildSource } from '../../protocol/builder.ts';
import { messageOf } from '../../protocol/errors.ts';
import { capabilitiesOf, type VmmWish } from '../../protocol/vmms.ts';
import type { Build } from '../../registry/deployments.ts';
import type { FunctionConfig } from '../../registry/function-version.ts';
import { CONTAINERS_NEED_VMS } from '../config/containers.ts';
import { DEFAULT_HANDLER } from '../config/handler-files.ts';
import type { Logger } from '../log.ts';
import type { BuilderClient } from './builder-client.ts';

/**
 * Directories, container images and packages of functions become images, for VMs, or staged directories with their dependencies, for plain
 * processes. Both are cached by content; what several functions name is looked at once by one `Build`.
 */
export function createBuild(builder: BuilderClient, vmm: VmmWish, logger: Logger): Build {
  const prepared = new Map<string, Promise<string>>();
  const { appfs } = capabilitiesOf(vmm);
  const prepare = (request: BuildRequest, given: string): Promise<string> => {
    const key = JSON.stringify(request);
    const observer = {
      onProgress: (text: string): void => logger.info(`${given}: ${text}`),
      onNote: (text: string): void => logger.warn(`${given}: ${text}`),
    };
    const preparing = prepared.get(key) ?? builder.build(request, observer).then(({ path }) => path);
    prepared.set(key, preparing);
    return preparing;
  };
  return async (fn) => {
    const source = sourceOf(fn);
    if (source === null) return Object.freeze({ ...fn });
    const given = nameOf(source);
    try {
      if ('container' in source && appfs !== 'image') throw new Error(CONTAINERS_NEED_VMS);
      const path = await prepare(
        {
          ...source,
          runtime: fn.web !== undefined && fn.runtime === 'provided' ? null : fn.runtime,
          runtimefs: appfs === 'image' ? fn.runtimefsPath : null,
          appfs,
          layers: fn.layers,
        },
        given,
      );
      return Object.freeze({ ...fn, appfs: { kind: appfs, path } });
    } catch (error) {
      throw new Error(`${given} cannot be made ready: ${messageOf(error)}`, { cause: error });
    }
  };
}

function nameOf(source: BuildSource): string {
  if ('container' in source) return source.container;
  return 'package' in source ? source.package : source.directory;
}

/** What is to be made ready; null if it is already. */
function sourceOf({ appfs, handler }: FunctionConfig): BuildSource | null {
  if (appfs === null || appfs.kind === 'image') return null;
  if (appfs.kind === 'container') return { container: appfs.path };
  return appfs.kind === 'directory'
    ? { directory: appfs.path }
    : { package: appfs.path, handler: handler ?? DEFAULT_HANDLER };
}
