/** Runs in firerunner and in `snapctr doctor`. Asks a program for its version, which also shows that it runs at all. */
import { execFile } from 'node:child_process';
import { HostError } from '../machine.ts';
import { elfMachine } from './elf.ts';

/** `--version` answers at once, or something else was started, in ms. */
const VERSION_LIMIT_MS = 5000;

/** A program that VMs need cannot be used. */
export class UnusableProgramError extends HostError {
  /** What is wrong with it, as a clause. */
  readonly finding: string;
  /** What to do, as a clause. */
  readonly remedy: string;

  constructor(finding: string, remedy: string, options: { readonly cause?: unknown } = {}) {
    super(`${finding}; ${remedy}`, options);
    this.finding = finding;
    this.remedy = remedy;
  }
}

/**
 * The first line that `PATH --version` prints.
 *
 * @param limitMs for the answer; then the program is killed.
 * @throws UnusableProgramError if there is none.
 */
export async function versionLine(path: string, limitMs = VERSION_LIMIT_MS): Promise<string> {
  refuseForeign(path);
  const stdout = await new Promise<string>((resolve, reject) => {
    execFile(path, ['--version'], { timeout: limitMs, killSignal: 'SIGKILL' }, (error, output, messages) => {
      if (error === null) resolve(output);
      else reject(reasonOf(path, error, messages, limitMs));
    });
  });
  return stdout.split('\n', 1)[0] ?? '';
}

/** libc takes a program for another machine for a shell script, and the shell's complaint about it helps nobody. */
function refuseForeign(path: string): void {
  let machine: string | null;
  try {
    machine = elfMachine(path);
  } catch {
    // What may be run need not be readable; the attempt tells.
    return;
  }
  if (machine === null || machine === process.arch) return;
  throw new UnusableProgramError(
    `${path} does not run on this machine: it is a program for another processor (${machine}, not ${process.arch})`,
    `install the release for ${process.arch}`,
  );
}

function reasonOf(
  path: string,
  cause: Error & { readonly code?: unknown; readonly killed?: boolean },
  messages: string,
  limitMs: number,
): UnusableProgramError {
  const because = (finding: string, remedy: string): UnusableProgramError =>
    new UnusableProgramError(`${path} ${finding}`, remedy, { cause });
  switch (cause.code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return because('does not exist', 'correct the path');
    case 'EACCES':
      return because('may not be executed', `make it executable: chmod +x ${path}`);
    default: {
      const reinstall = 'install it again, or name another one';
      if (cause.killed === true) return because(`--version did not answer within ${limitMs} ms`, reinstall);
      const lastLine = messages.trim().split('\n').at(-1) ?? '';
      return because(`--version failed: ${lastLine === '' ? cause.message.trim() : lastLine}`, reinstall);
    }
  }
}
