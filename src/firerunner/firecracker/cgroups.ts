/**
 * Runs in firerunner. The cgroups that the jailer makes for VMs, MOUNT/snapfaas/ID each, and their removal, which is our job:
 *
 * ```
 *   v2   one hierarchy for all controllers           /sys/fs/cgroup/snapfaas/ID
 *   v1   one hierarchy for each controller           /sys/fs/cgroup/memory/snapfaas/ID, …
 * ```
 *
 * Source: Firecracker, docs/jailer.md; the kernel's cgroup-v2.rst.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../protocol/errors.ts';
import { HostError } from '../machine.ts';
import { hasCode } from '../../storage/error-code.ts';

const PARENT = 'snapfaas';
/** The kernel may take a moment to let a process go that has been reaped, in ms and tries. */
const RETRY_MS = 5;
const TRIES = 20;

export interface CgroupPlan {
  readonly jailerArguments: readonly string[];
  /** Directories that hold the cgroups of all VMs. */
  readonly parents: readonly string[];
  /** Removes the cgroups of a VM whose process has ended, with what it may have left in them. Never rejects. */
  remove(id: string): Promise<void>;
  /** Removes the parents, unless another firerunner has VMs in them. Never rejects. */
  close(): Promise<void>;
}

interface Mount {
  readonly path: string;
  readonly version: 1 | 2;
  /** Of version 1. */
  readonly options: readonly string[];
}

/**
 * @param limits files of a cgroup and what is written to them, such as `memory.max`.
 * @returns null if there are none: then the jailer makes no cgroup.
 * @throws HostError if this host has no hierarchy with the controllers that the limits name.
 */
export async function cgroupPlan(
  limits: Readonly<Record<string, string>>,
  mountsFile = '/proc/mounts',
): Promise<CgroupPlan | null> {
  const files = Object.keys(limits);
  if (files.length === 0) return null;
  const mounts = parseMounts(await readFile(mountsFile, 'utf8'));
  const unified = await unifiedParent(files, mounts);
  const parents = unified === null ? await parentsOfVersion1(files, mounts) : [unified];
  return {
    jailerArguments: [
      ...['--cgroup-version', unified === null ? '1' : '2', '--parent-cgroup', PARENT],
      ...Object.entries(limits).flatMap(([file, value]) => ['--cgroup', `${file}=${value}`]),
    ],
    parents,
    async remove(id) {
      await Promise.all(parents.map((parent) => removeCgroup(join(parent, id))));
    },
    async close() {
      await Promise.all(parents.map((parent) => rmdir(parent).catch(() => undefined)));
    },
  };
}

/** In the hierarchy of version 2; null if there is none with all that is asked for. */
async function unifiedParent(files: readonly string[], mounts: readonly Mount[]): Promise<string | null> {
  const mount = mounts.find(({ version }) => version === 2);
  if (mount === undefined) return null;
  const text = await readFile(join(mount.path, 'cgroup.controllers'), 'utf8').catch(() => '');
  const available = text.trim().split(/\s+/);
  return controllersOf(files).every((one) => available.includes(one)) ? join(mount.path, PARENT) : null;
}

/** One for each controller, each made already. @throws HostError */
async function parentsOfVersion1(files: readonly string[], mounts: readonly Mount[]): Promise<readonly string[]> {
  const parents: string[] = [];
  for (const controller of controllersOf(files)) {
    const mount = mounts.find(({ version, options }) => version === 1 && options.includes(controller));
    if (mount === undefined) {
      throw new HostError(
        `this host has no cgroup controller \`${controller}\`, which \`jailer: {cgroup: …}\` asks for; mount it, or leave ` +
          'the limit out',
      );
    }
    const parent = join(mount.path, PARENT);
    await requireFiles(
      parent,
      controller,
      files.filter((file) => controllerOf(file) === controller),
    );
    parents.push(parent);
  }
  return parents;
}

/** Makes the parent and looks there: the root of a hierarchy lacks files that cgroups below it have, such as `pids.max`. */
async function requireFiles(parent: string, controller: string, files: readonly string[]): Promise<void> {
  try {
    await mkdir(parent, { recursive: true });
  } catch (cause) {
    throw new HostError(
      `no cgroup can be made in ${dirname(parent)}: ${messageOf(cause)}; mount it writable, or leave the limit out`,
      { cause },
    );
  }
  const unknown = files.filter((file) => !existsSync(join(parent, file)));
  if (unknown.length === 0) return;
  await rmdir(parent).catch(() => undefined);
  throw new HostError(
    `cgroups of this host are of version 1, in which \`${controller}\` has no \`${unknown.join('`, `')}\`; use version ` +
      '1’s names in `jailer: {cgroup: …}`, such as `memory.limit_in_bytes` for `memory.max`',
  );
}

function controllerOf(file: string): string {
  return file.split('.', 1)[0] ?? '';
}

function controllersOf(files: readonly string[]): readonly string[] {
  return [...new Set(files.map(controllerOf))];
}

function parseMounts(text: string): readonly Mount[] {
  return text.split('\n').flatMap((line): readonly Mount[] => {
    const [, path, type, options = ''] = line.split(' ');
    if (path === undefined || (type !== 'cgroup' && type !== 'cgroup2')) return [];
    return [{ path, version: type === 'cgroup2' ? 2 : 1, options: options.split(',') }];
  });
}

/** Whatever still runs in it is killed, where the kernel can (version 2, from 5.14 on). */
async function removeCgroup(path: string): Promise<void> {
  await writeFile(join(path, 'cgroup.kill'), '1', { flag: 'r+' }).catch(() => undefined);
  for (let tries = 0; tries < TRIES; tries += 1) {
    try {
      await rmdir(path);
      return;
    } catch (error) {
      if (!hasCode(error, 'EBUSY')) return;
    }
    await sleep(RETRY_MS);
  }
}
