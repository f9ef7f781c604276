/** One of our programs as a child process that a test talks to while it runs. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { PROJECT_ROOT, type Finished, type Workspace } from './snapctr.ts';

export interface RunningProgram {
  readonly pid: number;
  /** What it has written so far. */
  readonly stdout: string;
  readonly stderr: string;
  /** Its end and all of its output. */
  readonly finished: Promise<Finished>;
  /** Writes to its stdin. */
  write(text: string): void;
  /** Ends its stdin. */
  end(): void;
  /** Reads its stdout no more, as `head` does. */
  closeStdout(): void;
  kill(signal: NodeJS.Signals): void;
}

let started = 0;

/** @param options.env on top of this process's own environment. */
export function startProgram(
  program: string,
  args: readonly string[],
  options: { readonly workspace: Workspace; readonly env?: NodeJS.ProcessEnv },
): RunningProgram {
  const child = spawn(process.execPath, [program, ...args], {
    stdio: 'pipe',
    cwd: PROJECT_ROOT,
    env: {
      ...process.env,
      SNAPFAAS_RUN_DIR: options.workspace.runDirectory,
      XDG_DATA_HOME: join(options.workspace.directory, `data-of-${(started += 1)}`),
      ...options.env,
    },
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
  // It may end without reading all of its stdin.
  child.stdin.on('error', () => undefined);
  const finished = once(child, 'close').then(([status, signal]) => ({
    status: (status as number | null) ?? (signal as NodeJS.Signals | null) ?? 'unknown',
    ...output,
  }));
  return {
    pid: child.pid ?? 0,
    get stdout() {
      return output.stdout;
    },
    get stderr() {
      return output.stderr;
    },
    finished,
    write: (text) => void child.stdin.write(text),
    end: () => void child.stdin.end(),
    closeStdout: () => void child.stdout.destroy(),
    kill: (signal) => void child.kill(signal),
  };
}
