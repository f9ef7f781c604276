/**
 * Runs in firerunner. Cleans up after firerunners that could not.
 *
 * The kernel kills a VMM with the firerunner that started it, but forgets to when the VMM changes its user, as in a jail. So
 * a shell waits for firerunner's end, kills what runs in its jails and removes them; and each firerunner looks for jails of
 * others whose janitor was killed as well.
 */
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive, ownerFromTag } from '../../storage/owner.ts';
import { startJanitor } from '../janitor.ts';
import type { CgroupPlan } from './cgroups.ts';

/** How long a killed process may take to be gone, in ms, and how often it is looked for. */
const END_LIMIT_MS = 2000;
const END_POLL_MS = 10;

/**
 * Whether a process is the VMM of a jail tells its working directory: a process id alone may have been given to another one.
 * Names: $1 jails, $2 owner, $3 uids, $4 files, then directories of cgroups.
 */
const SCRIPT = `
jails=$1 owner=$2 uids=$3 files=$4
shift 4
for jail in "$jails/$owner"-*; do
  pid=$(cat "$jail/pid" 2>/dev/null) || continue
  [ "/proc/$pid/cwd" -ef "$jail/root" ] && kill -9 "$pid"
done
rm -rf -- "$jails/$owner"-* "$uids"/*-"$owner" "$files/.snapfaas-private-$owner"-*
tries=0
while [ $tries -lt 20 ]; do
  left=0
  for parent; do
    for cgroup in "$parent/$owner"-*; do
      [ -d "$cgroup" ] || continue
      rmdir "$cgroup" 2>/dev/null || left=1
    done
  done
  [ $left = 0 ] && break
  tries=$((tries + 1))
  sleep 0.05
done
for parent; do rmdir "$parent" 2>/dev/null; done
`;

export interface JailPlaces {
  readonly jails: string;
  readonly uids: string;
  readonly files: string;
  readonly cgroups: readonly string[];
  /** Tag of the firerunner, with which the names of all its things begin or end. */
  readonly owner: string;
}

/** @returns what stands the janitor down; it then removes what is left, which should be nothing. */
export function startJailJanitor({ jails, uids, files, cgroups, owner }: JailPlaces): () => void {
  return startJanitor('snapfaas-jail-janitor', SCRIPT, [jails, owner, uids, files, ...cgroups]);
}

/** Ends and removes the jails of firerunners that are gone. */
export async function removeAbandonedJails(jails: string, cgroups: CgroupPlan | null): Promise<void> {
  for (const id of await readdir(jails)) {
    const owner = ownerFromTag(id);
    if (owner === null || (await isAlive(owner))) continue;
    const jail = join(jails, id);
    await endVmm(jail);
    await rm(jail, { recursive: true, force: true });
    await cgroups?.remove(id);
  }
}

async function endVmm(jail: string): Promise<void> {
  const pid = Number(await readFile(join(jail, 'pid'), 'utf8').catch(() => ''));
  if (!(pid > 0)) return;
  for (let waitedMs = 0; waitedMs < END_LIMIT_MS && (await runsIn(pid, join(jail, 'root'))); waitedMs += END_POLL_MS) {
    if (waitedMs === 0) process.kill(pid, 'SIGKILL');
    await sleep(END_POLL_MS);
  }
}

async function runsIn(pid: number, directory: string): Promise<boolean> {
  try {
    const [cwd, root] = await Promise.all([stat(`/proc/${pid}/cwd`), stat(directory)]);
    return cwd.dev === root.dev && cwd.ino === root.ino;
  } catch {
    return false;
  }
}
