/** Parts of init as programs of the host, with a unix socket in place of a vsock port. */
import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex, Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isRunning, until } from '../end-to-end/processes.ts';
import { whyWithout } from './needed-program.ts';

const INIT = fileURLToPath(new URL('../../guest/init/', import.meta.url));
const FIXTURES = fileURLToPath(new URL('../guest/fixtures/', import.meta.url));
const FLAGS = ['-O1', '-g', '-fsanitize=address,undefined', '-fno-sanitize-recover', '-Wall', '-Wextra', '-Werror'];

export const noCompiler = whyWithout('gcc', 'gcc');

/** Time in which something that must not happen would have happened, in ms. */
export const QUIET_MS = 300;

/** One end of a connection: what came, and whether it was closed. */
export class End {
  readonly stream: Duplex;
  closed = false;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(stream: Duplex) {
    this.stream = stream;
    stream.on('error', () => undefined);
    stream.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#bytes += chunk.length;
    });
    stream.on('end', () => (this.closed = true));
    stream.on('close', () => (this.closed = true));
  }

  /** Waits for so many bytes and takes them; no more may have come. */
  async take(bytes: number): Promise<Buffer> {
    await until(`${bytes} bytes`, () => this.#bytes >= bytes);
    assert.equal(this.#bytes, bytes);
    return this.takeAll();
  }

  /** What has come until now. */
  takeAll(): Buffer {
    this.#bytes = 0;
    return Buffer.concat(this.#chunks.splice(0));
  }

  get pendingBytes(): number {
    return this.#bytes;
  }

  async isClosed(): Promise<void> {
    await until('the end of a stream', () => this.closed);
  }
}

/** A compiled part, which can be started any number of times. */
export class InitPart {
  readonly #directory = mkdtempSync(join(tmpdir(), 'snapfaas-init-'));
  readonly #program = join(this.#directory, 'program');
  readonly #hosts: Socket[] = [];
  #number = 0;
  #process: ChildProcess | null = null;
  #runtime: End | null = null;

  /** @param sources of init, beside the program of the same name in the fixtures. */
  constructor(program: string, sources: readonly string[], flags: readonly string[] = []) {
    const files = [join(FIXTURES, `${program}.c`), ...sources.map((name) => join(INIT, name))];
    const args = [...FLAGS, ...flags, '-I', INIT, '-o', this.#program, ...files];
    const compiled = spawnSync('gcc', args, { encoding: 'utf8' });
    assert.equal(compiled.status, 0, compiled.stderr);
  }

  async start(): Promise<void> {
    this.#number += 1;
    const child = spawn(this.#program, [this.#path], {
      stdio: ['pipe', 'pipe', 'inherit', 'pipe'],
      // Leaks are not what is looked for, and finding them needs rights that a container may not have.
      env: { ...process.env, ASAN_OPTIONS: 'detect_leaks=0' },
    });
    this.#process = child;
    this.#runtime = new End(child.stdio[3] as Duplex);
    await once(this.stdout, 'data');
  }

  /** Ends it by the end of its stdin; it must not have ended before. */
  async stop(): Promise<void> {
    for (const socket of this.#hosts.splice(0)) socket.destroy();
    const ended = once(this.#child, 'exit');
    this.stdin.end();
    assert.deepEqual(await ended, [0, null]);
    assert.equal(isRunning(this.#child.pid ?? 0), false);
  }

  remove(): void {
    rmSync(this.#directory, { recursive: true });
  }

  get #path(): string {
    return join(this.#directory, `${this.#number}.sock`);
  }

  get #child(): ChildProcess {
    assert.ok(this.#process);
    return this.#process;
  }

  get stdin(): Writable {
    return this.#child.stdin as Writable;
  }

  get stdout(): Readable {
    return this.#child.stdout as Readable;
  }

  /** The runtime's end of its socket. */
  get runtime(): End {
    assert.ok(this.#runtime);
    return this.#runtime;
  }

  /** A connection of the host's. */
  async dial(): Promise<End> {
    const socket = connect(this.#path);
    this.#hosts.push(socket);
    await once(socket, 'connect');
    return new End(socket);
  }

  async refuses(): Promise<void> {
    await assert.rejects(this.dial(), { code: 'ECONNREFUSED' });
  }

  /** It waits in poll, and does not go round and round. */
  async isIdle(): Promise<void> {
    const begun = this.#ticks();
    await sleep(QUIET_MS);
    const ticks = this.#ticks() - begun;
    assert.ok(ticks <= 2, `${ticks} ticks of processor time within ${QUIET_MS} ms`);
  }

  /** Processor time taken, in ticks of 10 ms. */
  #ticks(): number {
    const fields = readFileSync(`/proc/${this.#child.pid ?? 0}/stat`, 'utf8').split(' ');
    return Number(fields[13]) + Number(fields[14]);
  }
}
