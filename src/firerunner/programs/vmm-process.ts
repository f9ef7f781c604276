/** Runs in firerunner. A VMM as a child process: started so that it dies with firerunner, its last words kept. */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { setTimeout as sleep } from 'node:timers/promises';
import { HostError, type MachineExit } from '../machine.ts';
import { Throttle } from '../guest/throttle.ts';

/** Lines of console output kept for error messages. */
const TAIL_LINES = 40;
/** A longer console line is cut, so that a guest cannot fill our memory with one line, in characters. */
const TAIL_LINE_CHARS = 500;

/** How long the output of an ended VMM is waited for, in ms. */
const LAST_WORDS_MS = 50;

/** How long a process that broke off what it was asked may take to end, in ms. */
const END_PATIENCE_MS = 500;

/** The last lines written to some streams, oldest first. */
export class ConsoleTail {
  #lines: string[] = [];
  #partial = '';

  watch(stream: Readable | null): void {
    // Not `setEncoding`: others may read the same stream as bytes.
    const decoder = new StringDecoder('utf8');
    if (stream === null) return;
    const throttle = new Throttle(stream);
    stream.on('data', (bytes: Buffer) => {
      throttle.charge(bytes.length);
      this.#add(decoder.write(bytes));
    });
    // A broken pipe only ends the tail; the process's own exit is what matters.
    stream.on('error', () => undefined);
  }

  #add(text: string): void {
    const lines = (this.#partial + text).split(/\r?\n/);
    this.#partial = (lines.pop() ?? '').slice(-TAIL_LINE_CHARS);
    for (const line of lines) {
      if (line.trim() !== '') this.#lines.push(line.slice(0, TAIL_LINE_CHARS));
    }
    if (this.#lines.length > TAIL_LINES) this.#lines = this.#lines.slice(-TAIL_LINES);
  }

  lines(): readonly string[] {
    return this.#partial.trim() === '' ? [...this.#lines] : [...this.#lines, this.#partial];
  }
}

export interface VmmProcess {
  readonly child: ChildProcess;
  readonly exited: Promise<MachineExit>;
  kill(): Promise<MachineExit>;
}

/** Runs after `setpriv`: a firerunner that died before it could not be noticed by the signal. */
const UNLESS_ORPHANED = 'test "$PPID" = "$0" && exec "$@"';

/**
 * Starts a VMM in a process group of its own.
 *
 * On Linux `setpriv --pdeathsig KILL` makes the kernel kill it when firerunner dies, whatever firerunner dies of; the
 * group keeps a terminal's Ctrl-C away from it, so that draining can finish, and takes what the VMM started with it.
 *
 * @param calledAtEnd what the process is called in the reason of its end: it may have become another program.
 * @throws HostError if the program cannot be started: the host may be at a limit of its processes or its memory.
 */
export async function startVmmProcess(
  command: string,
  args: readonly string[],
  options: { stdio: StdioOptions; cwd?: string; env?: NodeJS.ProcessEnv },
  calledAtEnd: () => string = () => command,
): Promise<VmmProcess> {
  const linux = process.platform === 'linux';
  const guard = ['--pdeathsig', 'KILL', '--', '/bin/sh', '-c', UNLESS_ORPHANED, String(process.pid)];
  const [program, argv] = linux ? ['setpriv', [...guard, command, ...args]] : [command, args];
  const failed = (cause: Error): HostError =>
    new HostError(`${program} could not be started: ${cause.message}`, { cause });
  let child: ChildProcess;
  try {
    child = spawn(program, argv, { ...options, detached: true });
  } catch (error) {
    // Node throws what it has no event for, such as a lack of memory.
    throw error instanceof Error ? failed(error) : error;
  }
  const exited = new Promise<MachineExit>((resolve) => {
    child.once('exit', (status, signal) => {
      // Only a plain process can have left children of its own behind.
      killGroup(child);
      const how = signal === null ? `exited with status ${status ?? 'unknown'}` : `was killed by ${signal}`;
      const exit = { status, signal, reason: `${calledAtEnd()} ${how}` };
      // Its last words are still in the pipes; a grandchild that holds them open must not keep us waiting.
      const patience = setTimeout(() => resolve(exit), LAST_WORDS_MS);
      child.once('close', () => {
        clearTimeout(patience);
        resolve(exit);
      });
    });
  });
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (cause) => reject(failed(cause)));
  });
  return {
    child,
    exited,
    kill: () => {
      if (child.exitCode === null && child.signalCode === null) killGroup(child);
      return exited;
    },
  };
}

/** Waits for the end of a process that broke off what it was asked: it ends within this time, and its end tells why. */
export async function untilEndedByItself({ exited }: VmmProcess): Promise<void> {
  const patience = new AbortController();
  const late = sleep(END_PATIENCE_MS, undefined, { signal: patience.signal }).catch(() => undefined);
  await Promise.race([exited, late]);
  patience.abort();
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // Nobody of the group is left.
  }
}
