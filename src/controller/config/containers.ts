/** Runs in snapctr. Functions of the YAML files that are container images. */
import { formatReference, located, parseReference } from '../../oci/reference.ts';
import { messageOf } from '../../protocol/errors.ts';
import type { ContainerSettings } from '../../protocol/runner.ts';
import { capabilitiesOf, type VmmWish } from '../../protocol/vmms.ts';
import type { FunctionConfig } from '../../registry/function-version.ts';
import type { FunctionYaml } from './schema.ts';

type Complain = (key: string, message: string) => void;

export const CONTAINERS_NEED_VMS =
  'container images run in virtual machines only, and --vmm process has none; take another VMM, or deploy the files as a package';

/** An image says all of these itself. */
const NOT_WITH_IMAGES = ['runtime', 'runtimefs', 'appfs', 'layers', 'handler', 'load_dir', 'diff_dirs'] as const;

export function checkImageKeys(yaml: FunctionYaml, complain: Complain): void {
  if (!yaml.image) {
    if (yaml.image_config) complain('image_config', '`image_config` is for container images; name one by `image`');
    return;
  }
  for (const key of NOT_WITH_IMAGES) {
    if (yaml[key])
      complain(key, `\`${key}\` does not go with \`image\`, which has all files of the function; leave it out`);
  }
}

/** @param directory that relative paths count from. @returns undefined if it cannot be had. */
export function imageOf(
  text: string,
  directory: string,
  vmm: VmmWish,
  complain: Complain,
): FunctionConfig['appfs'] | undefined {
  if (capabilitiesOf(vmm).appfs === 'directory') {
    complain('image', `\`image\`: ${CONTAINERS_NEED_VMS}`);
    return undefined;
  }
  try {
    return Object.freeze({ kind: 'container', path: formatReference(located(parseReference(text), directory)) });
  } catch (error) {
    complain('image', `\`image\`: ${messageOf(error)}`);
    return undefined;
  }
}

export function containerSettings({ image_config: given }: FunctionYaml): ContainerSettings {
  return Object.freeze({
    entryPoint: given?.entry_point ?? null,
    command: given?.command ?? null,
    workingDirectory: given?.working_directory ?? null,
  });
}
