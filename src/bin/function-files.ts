/** Makes the functions' files ready before the controller starts: the seam between its configuration and the images. */
import { availableParallelism } from 'node:os';
import type { BrokenFunction, Config, FunctionConfig } from '../controller/config/config.ts';
import type { Logger } from '../controller/log.ts';
import { packApp } from '../images/app-image.ts';
import { stageApp } from '../images/app-stage.ts';
import { messageOf } from '../protocol/errors.ts';
import type { RuntimeName } from '../protocol/runtimes.ts';
import { capabilitiesOf, type VmmWish } from '../protocol/vmms.ts';

/** Directories that are worked on at the same time. */
const AT_ONCE = 2 * availableParallelism();

/**
 * Directories of functions become images, for VMs, or staged directories with their dependencies, for plain processes.
 * Both are cached by content; a directory that several functions name is done once. One that cannot be made ready breaks the
 * functions that name it, and no others.
 */
export async function prepareFunctionFiles(config: Config, vmm: VmmWish, logger: Logger): Promise<Config> {
  const prepared = new Map<string, Promise<string>>();
  const { appfs } = capabilitiesOf(vmm);
  const prepare = (directory: string, runtime: RuntimeName | null): Promise<string> => {
    const key = `${runtime ?? ''} ${directory}`;
    const preparing = prepared.get(key) ?? prepareDirectory(directory, runtime, appfs, logger);
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
  // Most of it waits for the disk and for programs.
  await Promise.all(Array.from({ length: AT_ONCE }, prepareRest));
  return {
    ...config,
    functions: new Map([...functions].filter((entry): entry is [string, FunctionConfig] => entry[1] !== null)),
    broken: [...config.broken, ...[...functions.keys()].flatMap((name) => broken.get(name) ?? [])],
  };
}

async function prepareDirectory(
  directory: string,
  runtime: RuntimeName | null,
  appfs: 'image' | 'directory',
  logger: Logger,
): Promise<string> {
  const staged = await stageApp(directory, {
    ...(runtime !== null && { runtime }),
    onHost: appfs === 'directory',
    onProgress: (text) => logger.info(`${directory}: ${text}`),
  });
  for (const note of staged.notes) logger.warn(`${directory}: ${note}`);
  return appfs === 'directory' ? staged.directory : (await packApp(staged)).image;
}
