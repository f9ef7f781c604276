/**
 * Runs in the fake jailer. Makes the cgroups of a jail and moves a process into them, as the real jailer does: below
 * `<hierarchy>/<parent>/<id>`, for version 1 in each controller's hierarchy, for version 2 in the only one.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { JailerError, type JailerArguments } from './jailer-arguments.ts';

interface Mount {
  readonly directory: string;
  readonly version: 1 | 2;
  readonly options: readonly string[];
}

/**
 * @param parent of the jail's cgroup, relative.
 * @throws JailerError if there is no such hierarchy or controller, or a value is refused.
 */
export function joinCgroups(pid: number, parent: string, options: JailerArguments): void {
  const mounts = cgroupMounts().filter(({ version }) => version === options.cgroupVersion);
  if (options.cgroupVersion === 2) return joinVersion2(pid, parent, options, mounts[0]?.directory);
  const places = options.cgroups.map(({ file, value }) => {
    const [controller = ''] = file.split('.');
    const mount = mounts.find((one) => one.options.includes(controller));
    if (mount === undefined) throw new JailerError(`Controller ${controller} is unavailable`);
    const place = join(mount.directory, parent, options.id);
    mkdirSync(place, { recursive: true });
    inherit(place, file, parent.split('/').length);
    writeSetting(join(place, file), value);
    return place;
  });
  for (const place of places) writeSetting(join(place, 'tasks'), String(pid));
}

function joinVersion2(pid: number, parent: string, options: JailerArguments, root: string | undefined): void {
  const { cgroups, parentCgroup, id } = options;
  if (cgroups.length === 0 && parentCgroup === null) return;
  if (root === undefined) throw new JailerError('Hierarchy not found: No hierarchy found for this cgroup version.');
  if (cgroups.length === 0) {
    // No cgroup is made then: the parent must be there.
    writeSetting(join(root, parent, 'cgroup.procs'), String(pid));
    return;
  }
  const place = join(root, parent, id);
  mkdirSync(place, { recursive: true });
  for (const { file, value } of cgroups) {
    const [controller = ''] = file.split('.');
    if (!readFileSync(join(root, 'cgroup.controllers'), 'utf8').split(/\s+/).includes(controller)) {
      throw new JailerError(`Controller ${controller} is unavailable`);
    }
    const above = join(parent, id).split('/');
    for (let depth = 0; depth < above.length; depth++) {
      writeSetting(join(root, ...above.slice(0, depth), 'cgroup.subtree_control'), `+${controller}`);
    }
    writeSetting(join(place, file), value);
  }
  writeSetting(join(place, 'cgroup.procs'), String(pid));
}

/** Some files of a new cgroup are empty and must be filled from above before they take a value. */
function inherit(place: string, file: string, depth: number): void {
  const above = join(dirname(place), file);
  if (!existsSync(above)) throw new JailerError(`Cgroup invalid file: ${file}`);
  if (firstLine(above) === '' && depth > 0) inherit(dirname(place), file, depth - 1);
  const line = firstLine(above);
  if (line === '') throw new JailerError(`Failed to inherit cgroups configurations from file ${file} in path ${place}`);
  writeSetting(join(place, file), line);
}

function firstLine(path: string): string {
  return readFileSync(path, 'utf8').split('\n')[0] ?? '';
}

function writeSetting(path: string, value: string): void {
  try {
    writeFileSync(path, `${value}\n`, { flag: 'r+' });
  } catch (cause) {
    throw new JailerError(`Failed to write to ${path}: ${String(cause)}`, { cause });
  }
}

function cgroupMounts(): Mount[] {
  return readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [, directory = '', type = '', options = ''] = line.split(' ');
      if (type !== 'cgroup' && type !== 'cgroup2') return [];
      return [{ directory, version: type === 'cgroup' ? 1 : 2, options: options.split(',') } as const];
    });
}
