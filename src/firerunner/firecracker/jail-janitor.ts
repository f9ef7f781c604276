/**
 * Runs in firerunner. Cleans up after firerunners that could not.
 *
 * The kernel kills a VMM with the firerunner that started it, but forgets to when the VMM changes its user, as in a jail. So
 * a shell waits for firerunner's end, kills what runs in its jails and removes them; and each firerunner looks for jails of
 * others whose janitor was killed as well.
 */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { OwnedNames } from '../../storage/owned-names.ts';
import { startJanitor } from '../janitor.ts';
import type { CgroupPlan } from './cgroups.ts';
import { removeJail } from './remove-jail.ts';

/** How long a killed process may take to be gone, in ms, and how often it is looked for. */
const END_LIMIT_MS = 2000;
const END_POLL_MS = 10;

/** Other programs have their jails in the same directory. */
const JAILS = new OwnedNames('snapfaas-');

/** What the jails of a firerunner are called, but for the number at the end. @param owner its tag. */
export function jailIds(owner: string): string {
  return `${JAILS.prefix}${owner}-`;
}

/**
 * Whether a process is the VMM of a jail tells its root or working directory: a process id alone may have been given to another
 * one, and a VMM may leave its working directory, but not its root. `rm` follows no links, whoever makes them meanwhile.
 * Names: $1 jails, $2 owner, $3 begin of the jails' names, $4 uids, $5 files, then directories of cgroups.
 */
const SCRIPT = `
jails=$1 owner=$2 ids=$3 uids=$4 files=$5
shift 5
for parent; do
  for cgroup in "$parent/$ids"*; do
    [ -w "$cgroup/cgroup.kill" ] && echo 1 > "$cgroup/cgroup.kill"
  done
done
for jail in "$jails/$ids"*; do
  pid=$(cat "$jail/pid" 2>/dev/null) || continue
  [ "/proc/$pid/root" -ef "$jail/root" ] || [ "/proc/$pid/cwd" -ef "$jail/root" ] && kill -9 "$pid"
done
rm -rf -- "$jails/$ids"* "$uids"/*-"$owner" "$files/.snapfaas-private-$owner"-*
tries=0
while [ $tries -lt 20 ]; do
  left=0
  for parent; do
    for cgroup in "$parent/$ids"*; do
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
  return startJanitor('snapfaas-jail-janitor', SCRIPT, [jails, owner, jailIds(owner), uids, files, ...cgroups]);
}

/** Ends and removes the jails of firerunners that are gone. */
export async function removeAbandonedJails(jails: string, cgroups: CgroupPlan | null): Promise<void> {
  for (const id of await JAILS.findAbandoned(jails)) {
    const jail = join(jails, id);
    await endVmm(jail);
    await cgroups?.remove(id);
    await removeJail(jail);
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

/** Its root tells once the jailer has moved there, its working directory before. */
async function runsIn(pid: number, directory: string): Promise<boolean> {
  const identities = ['root', 'cwd'].map((name) => identityOf(`/proc/${pid}/${name}`));
  const [own, ...found] = await Promise.all([identityOf(directory), ...identities]);
  return own !== null && found.includes(own);
}

async function identityOf(directory: string): Promise<string | null> {
  return stat(directory).then(
    ({ dev, ino }) => `${dev} ${ino}`,
    () => null,
  );
}
