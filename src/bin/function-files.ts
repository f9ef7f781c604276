/** Makes the functions' files ready before the controller starts: the seam between its configuration and the images. */
import type { Config, FunctionConfig } from '../controller/config/config.ts';
import type { Logger } from '../controller/log.ts';
import { packApp } from '../images/app-image.ts';
import { stageApp } from '../images/app-stage.ts';
import { messageOf } from '../protocol/errors.ts';
import type { RuntimeName } from '../protocol/runtimes.ts';
import { capabilitiesOf, type VmmWish } from '../protocol/vmms.ts';

/**
 * Directories of functions become images, for VMs, or staged directories with their dependencies, for plain processes.
 * Both are cached by content; a directory that several functions name is done once. One that cannot be made ready breaks the
 * functions that name it, and no others.
 */
export async function prepareFunctionFiles(config: Config, vmm: VmmWish, logger: Logger): Promise<Config> {
  const prepared = new Map<string, Promise<string>>();
  const functions = new Map<string, FunctionConfig>();
  const broken = [...config.broken];
  const { appfs } = capabilitiesOf(vmm);
  for (const [name, fn] of config.functions) {
    if (fn.appfs?.kind !== 'directory') {
      functions.set(name, fn);
      continue;
    }
    const directory = fn.appfs.path;
    const key = `${fn.runtime ?? ''} ${directory}`;
    const preparing = prepared.get(key) ?? prepareDirectory(directory, fn.runtime, appfs, logger);
    prepared.set(key, preparing);
    try {
      const path = await preparing;
      functions.set(name, { ...fn, appfs: { kind: appfs, path } });
    } catch (error) {
      broken.push({ name, problems: [`${directory} cannot be made ready: ${messageOf(error)}`] });
    }
  }
  return { ...config, functions, broken };
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
