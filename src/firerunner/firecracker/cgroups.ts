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
import { readFile, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HostError } from '../drivers/driver.ts';
import { hasCode } from '../snapshots/store-error.ts';

const PARENT = 'snapfaas';
/** The kernel may take a moment to let a process go that has been reaped, in ms and tries. */
const RETRY_MS = 5;
const TRIES = 20;

export interface CgroupPlan {
  readonly version: 1 | 2;
  readonly jailerArguments: readonly string[];
  /** Directories that hold the cgroups of all VMs. */
  readonly parents: readonly string[];
  /** Removes the cgroups of a VM whose process has ended. Never rejects. */
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
  const controllers = [...new Set(files.map((file) => file.split('.', 1)[0] ?? ''))];
  const mounts = parseMounts(await readFile(mountsFile, 'utf8'));
  const unified = mounts.find(({ version }) => version === 2);
  const inUnified = unified === undefined ? [] : await unifiedControllers(unified.path);
  const places: string[] = [];
  let version: 1 | 2 = 2;
  if (unified !== undefined && controllers.every((one) => inUnified.includes(one))) {
    places.push(unified.path);
  } else {
    version = 1;
    for (const controller of controllers) {
      const mount = mounts.find((one) => one.version === 1 && one.options.includes(controller));
      if (mount === undefined) {
        throw new HostError(
          `this host has no cgroup controller \`${controller}\`, which \`jailer: {cgroup: …}\` asks for; mount it, or leave ` +
            'the limit out',
        );
      }
      const unknown = files.filter((file) => file.startsWith(`${controller}.`) && !existsSync(join(mount.path, file)));
      if (unknown.length > 0) {
        throw new HostError(
          `cgroups of this host are of version 1, in which \`${controller}\` has no \`${unknown.join('`, `')}\`; use version ` +
            '1’s names in `jailer: {cgroup: …}`, such as `memory.limit_in_bytes` for `memory.max`',
        );
      }
      places.push(mount.path);
    }
  }
  const parents = places.map((place) => join(place, PARENT));
  return {
    version,
    jailerArguments: [
      ...['--cgroup-version', String(version), '--parent-cgroup', PARENT],
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

function parseMounts(text: string): readonly Mount[] {
  return text.split('\n').flatMap((line): readonly Mount[] => {
    const [, path, type, options = ''] = line.split(' ');
    if (path === undefined || (type !== 'cgroup' && type !== 'cgroup2')) return [];
    return [{ path, version: type === 'cgroup2' ? 2 : 1, options: options.split(',') }];
  });
}

async function unifiedControllers(path: string): Promise<readonly string[]> {
  const text = await readFile(join(path, 'cgroup.controllers'), 'utf8').catch(() => '');
  return text.trim().split(/\s+/);
}

async function removeCgroup(path: string): Promise<void> {
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
