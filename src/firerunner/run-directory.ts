/**
 * Runs in firerunner. Where a firerunner keeps the sockets of its VMs:
 *
 * ```
 *   BASE/PID-STARTTIME/          one per firerunner; BASE is $SNAPFAAS_RUN_DIR or /tmp/snapfaas-UID
 *   BASE/PID-STARTTIME/VM/       one per VM: its sockets
 * ```
 *
 * A directory outlives no firerunner: it is removed on exit; if firerunner is killed, its janitor removes it; if the
 * host lost power, the next firerunner does, because the name tells that the process is gone.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { messageOf } from '../protocol/errors.ts';
import { codeOf } from '../storage/error-code.ts';
import { startJanitor } from './janitor.ts';

/** Longest path of a unix socket on Linux, without the terminating zero, in bytes. */
const MAX_SOCKET_PATH_BYTES = 107;
/** Longest name this program puts below its run directory: `/vm-NUMBER/function.sock`. */
const LONGEST_NAME_BYTES = '/vm-1234567890/function.sock'.length;

/** The base directory cannot be used; the message says what to change. */
export class RunDirectoryError extends Error {
  override readonly name = 'RunDirectoryError';
}

export interface RunDirectory {
  readonly path: string;
  /** A directory for one VM. */
  create(vm: string): string;
  remove(vm: string): void;
  /** Removes everything and stands the janitor down. */
  close(): void;
}

/**
 * Makes the run directory of this process, removes those of firerunners that are gone, and starts the janitor.
 *
 * @throws RunDirectoryError if the base path cannot be made, is too long for unix sockets or not ours.
 */
export function openRunDirectory(env: NodeJS.ProcessEnv = process.env): RunDirectory {
  const uid = process.getuid?.() ?? 0;
  const base = env['SNAPFAAS_RUN_DIR'] ?? join(tmpdir(), `snapfaas-${uid}`);
  const path = join(base, `${process.pid}-${startTime(process.pid) ?? '0'}`);
  const needed = Buffer.byteLength(path) + LONGEST_NAME_BYTES;
  if (needed > MAX_SOCKET_PATH_BYTES) {
    throw new RunDirectoryError(
      `the run directory ${path} is too long: its sockets would have paths of ${needed} bytes, ` +
        `${MAX_SOCKET_PATH_BYTES} are possible; set SNAPFAAS_RUN_DIR to a shorter directory`,
    );
  }
  makeBase(base);
  const owner = statSync(base).uid;
  if (process.getuid !== undefined && owner !== uid) {
    throw new RunDirectoryError(
      `${base} belongs to user ${owner}, not to us; set SNAPFAAS_RUN_DIR to a directory of your own`,
    );
  }
  removeLeftovers(base);
  mkdirSync(path, { mode: 0o700 });
  const standDown = startJanitor('snapfaas-janitor', 'rm -rf -- "$1"', [path]);
  return {
    path,
    create(vm) {
      const directory = join(path, vm);
      mkdirSync(directory, { mode: 0o700 });
      return directory;
    },
    remove: (vm) => rmSync(join(path, vm), { recursive: true, force: true }),
    close() {
      rmSync(path, { recursive: true, force: true });
      standDown();
    },
  };
}

/** Not the directories above it: one that is not there was named by mistake. */
function makeBase(base: string): void {
  try {
    mkdirSync(base, { mode: 0o700 });
  } catch (error) {
    const code = codeOf(error);
    if (code === 'EEXIST') return;
    const why = code === 'ENOENT' ? `there is no ${dirname(base)}` : messageOf(error);
    throw new RunDirectoryError(
      `the run directory ${base} cannot be made: ${why}; set SNAPFAAS_RUN_DIR to a directory of your own`,
    );
  }
}

/** Removes run directories whose firerunner no longer runs. Returns their names. */
export function removeLeftovers(base: string): string[] {
  const removed: string[] = [];
  for (const name of readdirSync(base)) {
    const [pid, started] = name.split('-');
    if (pid === undefined || started === undefined || !/^\d+$/.test(pid)) continue;
    // A process id is reused; together with its start time it is not.
    if (startTime(Number(pid)) === started) continue;
    rmSync(join(base, name), { recursive: true, force: true });
    removed.push(name);
  }
  return removed;
}

/** When a process started, in clock ticks since boot (field 22 of /proc/PID/stat); null if it does not run. */
function startTime(pid: number): string | null {
  if (process.platform !== 'linux') return processRuns(pid) ? '0' : null;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in parentheses and may hold anything, so count from its end.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}

function processRuns(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
