/**
 * Runs in the builder and in `npm start`. Runs the programs the builders need (apt-get, tar, mke2fs, gcc, npm, …) and
 * quotes them when they fail.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { abortReason } from '../protocol/abort.ts';
import { descendantsOf, signalAll } from '../storage/descendants.ts';

/** Lines of a failed program's output that go into the error. */
const LAST_LINES = 20;

export interface ToolOptions {
  readonly cwd?: string;
  /** Set on top of the environment of this process, or instead of it. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Whether the program sees the environment of this process. Default: true. */
  readonly inherit?: boolean;
  readonly stdin?: Uint8Array;
  /** Called with what the program prints, stdout and stderr, line by line; for progress. */
  readonly onLine?: (line: string) => void;
  readonly signal?: AbortSignal;
}

/** How long a program may take to end once it was asked to, before it is killed, in ms. */
const END_PATIENCE_MS = 5000;
/** After that its output is waited for no longer: what it has started may hold it, in ms. */
const KILL_PATIENCE_MS = 2000;

const calledOff = new AsyncLocalStorage<AbortSignal>();

/** Of what is done without a program, while `endingTools` has called for it. */
export function calledOffSignal(): AbortSignal | undefined {
  return calledOff.getStore();
}

/** Every program that is run while `work` lasts is ended when the signal aborts, if it was given no signal of its own. */
export function endingTools<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  return calledOff.run(signal, work);
}

/** A program could not be started, or ended with a status other than 0. `message` holds its last lines. */
export class ToolError extends Error {
  override readonly name = 'ToolError';
  readonly command: string;
  /** True if the program is not installed. */
  readonly missing: boolean;

  constructor(command: string, message: string, options: { missing?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.command = command;
    this.missing = options.missing ?? false;
  }
}

/** What to try when a program fails for the reason it mostly fails for. */
const ADVICE_FOR: Readonly<Record<string, string>> = {
  'apt-get': 'If packages are not found, the lists of packages may be missing or old: run "apt-get update" as root.',
};

/** Debian package that brings a program, for the advice in errors. */
const PACKAGE_OF: Readonly<Record<string, string>> = {
  mke2fs: 'e2fsprogs',
  debugfs: 'e2fsprogs',
  gcc: 'gcc',
  strip: 'binutils',
  lz4: 'lz4',
  xz: 'xz-utils',
  zstd: 'zstd',
  npm: 'npm',
};

/**
 * Runs a program to its end and returns its stdout. Nothing is read from the terminal.
 *
 * Messages are in English and sorting is by bytes (`LC_ALL=C.UTF-8`), whatever the user's locale.
 *
 * @throws ToolError with the command line and the last lines it printed; the signal's reason, when the program has ended.
 */
export async function runTool(command: string, argv: readonly string[], options: ToolOptions = {}): Promise<Buffer> {
  const signal = options.signal ?? calledOff.getStore();
  signal?.throwIfAborted();
  const child = spawn(command, argv, {
    cwd: options.cwd,
    env: {
      ...(options.inherit === false ? {} : process.env),
      PATH: searchPath(),
      LC_ALL: 'C.UTF-8',
      ...options.environment,
    },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const output: Buffer[] = [];
  let messages = '';
  const tellLines = (text: string): void => {
    for (const line of text.split('\n')) if (line.trim() !== '') options.onLine?.(line.trim());
  };
  child.stdout.on('data', (chunk: Buffer) => {
    output.push(chunk);
    if (options.onLine !== undefined) tellLines(chunk.toString('utf8'));
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    messages += text;
    tellLines(text);
  });
  // A program may end without reading all of its input; its exit status tells whether that matters.
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.stdin);

  const closed = new Promise<Buffer>((resolve, reject) => {
    child.once('error', (cause: NodeJS.ErrnoException) => {
      reject(cause.code === 'ENOENT' ? missingTool(command, cause) : cause);
    });
    child.once('close', (status, ended) => {
      const stdout = Buffer.concat(output);
      if (status === 0) resolve(stdout);
      else reject(new ToolError(command, failureText(command, argv, ended ?? String(status), messages, stdout)));
    });
  });
  const stopEnding = signal === undefined ? () => undefined : endOnAbort(child, signal);
  try {
    return await closed;
  } catch (error) {
    throw signal?.aborted === true ? abortReason(signal) : error;
  } finally {
    stopEnding();
  }
}

/** Its end, and that of what it started, is waited for: nobody writes any more into what is removed then. @returns what takes that back. */
function endOnAbort(child: ChildProcessWithoutNullStreams, signal: AbortSignal): () => void {
  const timers: NodeJS.Timeout[] = [];
  const onAbort = async (): Promise<void> => {
    // A program that waits for another may end alone.
    const others = child.pid === undefined ? [] : await descendantsOf(child.pid);
    const send = (how: NodeJS.Signals): void => {
      child.kill(how);
      void signalAll(others, how);
    };
    send('SIGTERM');
    timers.push(setTimeout(() => send('SIGKILL'), END_PATIENCE_MS));
    timers.push(setTimeout(giveUp, END_PATIENCE_MS + KILL_PATIENCE_MS));
  };
  const giveUp = (): void => {
    child.stdout.destroy();
    child.stderr.destroy();
  };
  const listener = (): void => void onAbort();
  signal.addEventListener('abort', listener, { once: true });
  return () => {
    signal.removeEventListener('abort', listener);
    timers.forEach(clearTimeout);
  };
}

/** mke2fs and debugfs live in /usr/sbin, which is not in every user's PATH. */
function searchPath(): string {
  return `${process.env['PATH'] ?? '/usr/bin:/bin'}:/usr/sbin:/sbin`;
}

function missingTool(command: string, cause: unknown): ToolError {
  const debianPackage = PACKAGE_OF[command];
  const advice = debianPackage === undefined ? '' : `; on Debian: apt-get install ${debianPackage}`;
  return new ToolError(command, `the program "${command}" is not installed${advice}`, { missing: true, cause });
}

function failureText(command: string, argv: readonly string[], end: string, messages: string, stdout: Buffer): string {
  const said = messages.trim() === '' ? stdout.subarray(-8192).toString('utf8') : messages;
  const lines = said.trimEnd().split('\n').slice(-LAST_LINES);
  const quoted = [`"${[command, ...argv].join(' ')}" failed (${end}); its last lines:`, ...lines].join('\n  ');
  const advice = ADVICE_FOR[command];
  return advice === undefined ? quoted : `${quoted}\n${advice}`;
}
