/** Makes the functions' files ready before the controller starts: the seam between its configuration and the images. */
import { BuilderClient } from '../controller/builder/builder-client.ts';
import { builderCommand } from '../controller/builder/builder-command.ts';
import type { BrokenFunction, Config, FunctionConfig } from '../controller/config/config.ts';
import type { Logger } from '../controller/log.ts';
import { messageOf } from '../protocol/errors.ts';
import type { RuntimeName } from '../protocol/runtimes.ts';
import { capabilitiesOf, type VmmWish } from '../protocol/vmms.ts';

/** Directories that are asked for at the same time. */
const AT_ONCE = 100;

/**
 * Directories of functions become images, for VMs, or staged directories with their dependencies, for plain processes; a builder
 * does it. Both are cached by content; a directory that several functions name is done once. One that cannot be made ready breaks
 * the functions that name it, and no others.
 */
export async function prepareFunctionFiles(
  config: Config,
  vmm: VmmWish,
  logger: Logger,
  command: readonly string[] = builderCommand(),
): Promise<Config> {
  const builder = new BuilderClient(command, logger);
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
  /** In the order of the configuration; null: broken. */
  const functions = new Map<string, FunctionConfig | null>([...config.functions.keys()].map((name) => [name, null]));
  const broken = new Map<string, BrokenFunction>();
  const rest = config.functions.entries();
  const prepareRest = async (): Promise<void> => {
    for (const [name, fn] of rest) {
      if (fn.appfs?.kind !== 'directory') {
        functions.set(name, fn);
        continue;
      }
      const directory = fn.appfs.path;
      try {
        const path = await prepare(directory, fn.runtime);
        functions.set(name, { ...fn, appfs: { kind: appfs, path } });
      } catch (error) {
        broken.set(name, { name, problems: [`${directory} cannot be made ready: ${messageOf(error)}`] });
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, prepareRest));
  } finally {
    await builder.close();
  }
  return {
    ...config,
    functions: new Map([...functions].filter((entry): entry is [string, FunctionConfig] => entry[1] !== null)),
    broken: [...config.broken, ...[...functions.keys()].flatMap((name) => broken.get(name) ?? [])],
  };
}
