/**
 * Runs in the fake Firecracker. The guest's language runtime as a process of the host, with the descriptors it has in a
 * VM: 3 is the function channel, 4 the channel to init.
 *
 * It dies with the fake, also when that is killed: by the kernel's signal for lost parents; its own children by a keeper, a
 * shell that waits for the end of a pipe from the fake, kills the runtime's process group, and removes its directory.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex, Readable } from 'node:stream';

export type GuestLanguage = 'python3' | 'nodejs';

/** Runs after `setpriv`: a fake that died before it could not be noticed by the signal. */
const UNLESS_ORPHANED = 'test "$PPID" = "$0" && exec "$@"';
/** $0: the process group, $1: the directory. A line on stdin says that the group has ended. */
const KEEPER =
  'while read -r ended; do over=1; done; test -n "$over" || kill -s KILL -- "-$0" 2>/dev/null; rm -rf -- "$1"';
/** How long output of an ended runtime may take, if something escaped that holds its pipes. */
const LAST_WORDS_MS = 1000;

export interface RuntimeExit {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class RuntimeProcess {
  /** What the guest calls /srv. Empty until a disk's files are put there. */
  readonly root: string;
  readonly functionChannel: Duplex;
  readonly requests: Duplex;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves when the runtime has ended and all it wrote was read. */
  readonly exited: Promise<RuntimeExit>;
  readonly #child: ChildProcess;
  readonly #keeper: ChildProcess;
  readonly #directory: string;
  #hasEnded = false;

  /** @param home the fake's own directory, with the runtimes. */
  constructor(language: GuestLanguage, home: string) {
    this.#directory = mkdtempSync(join(tmpdir(), `fake-firecracker-${process.pid}-`));
    this.root = join(this.#directory, 'srv');
    mkdirSync(this.root);
    const guard = ['--pdeathsig', 'KILL', '--', '/bin/sh', '-c', UNLESS_ORPHANED, String(process.pid)];
    this.#child = spawn('/usr/bin/setpriv', [...guard, ...commandOf(language, home), this.root], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
      cwd: this.root,
      detached: true,
      env: {
        PATH: '/usr/local/bin:/usr/bin:/bin',
        HOME: '/tmp',
        TMPDIR: '/tmp',
        LANG: 'C.UTF-8',
        LD_LIBRARY_PATH: join(this.root, 'lib'),
        // The files of a disk that is only read.
        PYTHONDONTWRITEBYTECODE: '1',
      },
    });
    const stdio = this.#child.stdio;
    this.stdout = stdio[1] as Readable;
    this.stderr = stdio[2] as Readable;
    this.functionChannel = stdio[3] as Duplex;
    this.requests = stdio[4] as Duplex;
    for (const stream of [this.stdout, this.stderr, this.functionChannel, this.requests]) {
      stream.on('error', () => undefined);
    }
    this.#keeper = spawn('/bin/sh', ['-c', KEEPER, String(this.#child.pid), this.#directory], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    this.#keeper.stdin?.on('error', () => undefined);
    this.exited = this.#whenOver();
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  freeze(): void {
    if (!this.#hasEnded) signalGroup(this.pid, 'SIGSTOP');
  }

  thaw(): void {
    if (!this.#hasEnded) signalGroup(this.pid, 'SIGCONT');
  }

  /** Kills it and all it started, and removes its files. For the end of the fake: nothing is waited for. */
  destroy(): void {
    if (!this.#hasEnded) signalGroup(this.pid, 'SIGKILL');
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #whenOver(): Promise<RuntimeExit> {
    const exit = new Promise<RuntimeExit>((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('exit', (status, signal) => resolve({ status, signal }));
    });
    const closed = new Promise<void>((resolve) => this.#child.once('close', () => resolve()));
    const result = await exit;
    // As init does: what it left running is of no use to anyone.
    signalGroup(this.pid, 'SIGKILL');
    this.#hasEnded = true;
    this.#keeper.stdin?.write('ended\n');
    let patience: NodeJS.Timeout | undefined;
    await Promise.race([closed, new Promise((resolve) => (patience = setTimeout(resolve, LAST_WORDS_MS)))]);
    clearTimeout(patience);
    return result;
  }
}

function commandOf(language: GuestLanguage, home: string): readonly string[] {
  switch (language) {
    case 'python3':
      return ['/usr/bin/python3', '-s', '-S', join(home, 'python', 'runtime.py')];
    case 'nodejs':
      return [process.execPath, join(home, 'node', 'runtime.cjs')];
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  if (pid === 0) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // Nobody of the group is left, or the process has not made it yet.
  }
}
