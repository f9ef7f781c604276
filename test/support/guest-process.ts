/**
 * A guest runtime as a child process, and the two peers it talks to: the host on its function channel (`invoke`), and
 * init on the control channel (`load`, and DRAINED for every DONE).
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { encodeFrame, FrameReader, type Frame, type FrameHeader } from '../../src/protocol/frame.ts';
import {
  FrameType,
  MAX_FRAME_BYTES,
  MAX_PAYLOAD_BYTES,
  type FunctionFailure,
  type InvokeHeader,
  type LoadRequest,
} from '../../src/protocol/guest.ts';

export type GuestLanguage = 'python' | 'node';

const PROJECT_ROOT = fileURLToPath(new URL('../../', import.meta.url));
const PYTHON_RUNTIME = join(PROJECT_ROOT, 'guest/runtimes/python/runtime.py');
const NODE_RUNTIME = join(PROJECT_ROOT, 'dist/guest/node/runtime.cjs');
const NODE_RUNTIME_SOURCES = join(PROJECT_ROOT, 'guest/runtimes/node');

/** Longest wait for anything a healthy runtime does at once. */
const PATIENCE_MS = 20_000;

/** Compiles the Node runtime if its output is missing or older than one of its sources. */
export async function buildNodeRuntime(): Promise<void> {
  const sources = await readdir(NODE_RUNTIME_SOURCES, { recursive: true });
  const changed = await Promise.all(
    sources.map(async (name) => (await stat(join(NODE_RUNTIME_SOURCES, name))).mtimeMs),
  );
  // The compiler writes this file each time, and the others only where they are to change.
  const built = await stat(join(dirname(NODE_RUNTIME), 'tsconfig.tsbuildinfo')).catch(() => undefined);
  if (built !== undefined && built.mtimeMs >= Math.max(...changed)) return;
  const compiler = join(PROJECT_ROOT, 'node_modules/typescript/bin/tsc');
  const result = spawnSync(process.execPath, [compiler, '-b', '--force', 'guest/runtimes/node'], {
    cwd: PROJECT_ROOT,
    encoding: 'utf8',
  });
  if (result.status !== 0) throw new Error(`the Node runtime does not compile:\n${result.stdout}${result.stderr}`);
}

/** Frames of one stream, to be taken one by one. */
class FrameQueue {
  readonly #frames: Frame[] = [];
  readonly #waiting: { resolve: (frame: Frame) => void; reject: (error: Error) => void }[] = [];
  #ended = false;

  push(frame: Frame): void {
    const first = this.#waiting.shift();
    if (first === undefined) this.#frames.push(frame);
    else first.resolve(frame);
  }

  end(): void {
    this.#ended = true;
    for (const { reject } of this.#waiting.splice(0)) reject(new Error('the runtime ended without a frame'));
  }

  next(): Promise<Frame> {
    const frame = this.#frames.shift();
    if (frame !== undefined) return Promise.resolve(frame);
    if (this.#ended) return Promise.reject(new Error('the runtime ended without a frame'));
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }
}

export interface GuestExit {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Printed {
  readonly stdout: string;
  readonly stderr: string;
}

const running = new Set<GuestProcess>();

/** Guests that were started and have not ended: a leak, once a suite is over. */
export function runningGuests(): number {
  return running.size;
}

export class GuestProcess {
  readonly root: string;
  readonly exited: Promise<GuestExit>;
  /** Headers of the DONE frames that came, in order. */
  readonly doneHeaders: FrameHeader[] = [];
  /** The language's version, as HELLO tells it. */
  version = '';
  readonly #child: ChildProcess;
  readonly #functionFrames = new FrameQueue();
  readonly #controlFrames = new FrameQueue();
  readonly #deadline: NodeJS.Timeout;
  /** Settles when every frame received so far on the control channel has been dealt with, in order. */
  #dealtWith: Promise<void> = Promise.resolve();
  #stdout: Buffer[] = [];
  #stderr: Buffer[] = [];
  /** Code of what broke the control channel, if it did not just end. */
  controlError: string | null = null;
  /** Output by number of the invocation, from 1; 0 is the import. */
  readonly #printed: Printed[] = [];
  readonly #printedWaiters: (() => void)[] = [];

  private constructor(command: string, args: readonly string[], root: string) {
    this.root = root;
    this.#child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'], HOME: '/tmp', LANG: 'C.UTF-8', PYTHONDONTWRITEBYTECODE: '1' },
    });
    running.add(this);
    this.#deadline = setTimeout(() => this.#child.kill('SIGKILL'), PATIENCE_MS);
    this.exited = once(this.#child, 'close').then(([status, signal]) => {
      clearTimeout(this.#deadline);
      this.#endRequest();
      running.delete(this);
      return { status: status as number | null, signal: signal as NodeJS.Signals | null };
    });
    (this.#child.stdout as Readable).on('data', (chunk: Buffer) => this.#stdout.push(chunk));
    (this.#child.stderr as Readable).on('data', (chunk: Buffer) => this.#stderr.push(chunk));
    listen(
      this.functionChannel,
      (frame) => this.#functionFrames.push(frame),
      () => this.#functionFrames.end(),
    );
    listen(
      this.controlChannel,
      (frame) => {
        this.#dealtWith = this.#dealtWith.then(() => this.#fromRuntime(frame));
      },
      () => void this.#dealtWith.then(() => this.#controlFrames.end()),
    );
    this.controlChannel.on('error', (error: NodeJS.ErrnoException) => (this.controlError = error.code ?? null));
  }

  /**
   * Writes the function's files into a new directory and starts a runtime.
   *
   * @param files contents by path below the function's root.
   */
  static start(language: GuestLanguage, files: Readonly<Record<string, string>>): Promise<GuestProcess> {
    return language === 'python'
      ? GuestProcess.startProgram('python3', [PYTHON_RUNTIME], files)
      : GuestProcess.startProgram(process.execPath, [NODE_RUNTIME], files);
  }

  /** The same with a runtime of another kind; `bootstrap` and extensions can be executed. */
  static async startProgram(
    command: string,
    args: readonly string[],
    files: Readonly<Record<string, string | Buffer>>,
  ): Promise<GuestProcess> {
    const root = await mkdtemp(join(tmpdir(), 'snapfaas-guest-'));
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), text, { mode: /^bootstrap$|\/extensions\//.test(path) ? 0o755 : 0o644 });
    }
    return new GuestProcess(command, args, root);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get functionChannel(): Duplex {
    return this.#child.stdio[3] as Duplex;
  }

  get controlChannel(): Duplex {
    return this.#child.stdio[4] as Duplex;
  }

  nextControlFrame(): Promise<Frame> {
    return this.#controlFrames.next();
  }

  nextFunctionFrame(): Promise<Frame> {
    return this.#functionFrames.next();
  }

  /** Loads the function and starts it: returns LOADED or LOAD_FAILED. */
  async load(request: Partial<LoadRequest> = {}): Promise<Frame> {
    const loaded = await this.import(request);
    if (loaded.type === FrameType.loaded) {
      const started = await this.command(FrameType.start, { restored: false });
      if (started.type !== FrameType.started) throw new Error(`expected STARTED, got type ${started.type}`);
    }
    return loaded;
  }

  /** Sends a frame on the control channel, such as SEAL or START, and returns the answer. */
  command(type: number, header: FrameHeader): Promise<Frame> {
    this.controlChannel.write(encodeFrame(type, header));
    return this.nextControlFrame();
  }

  /** Takes HELLO, sends LOAD and returns the answer: LOADED or LOAD_FAILED. */
  async import(request: Partial<LoadRequest> = {}): Promise<Frame> {
    const hello = await this.nextControlFrame();
    if (hello.type !== FrameType.hello) throw new Error(`expected HELLO, got type ${hello.type}`);
    this.version = String(hello.header['version']);
    const whole: LoadRequest = {
      function: 'under-test',
      root: this.root,
      handler: null,
      style: 'original',
      initialization: 'on-demand',
      version: '$LATEST',
      arn: 'arn:aws:lambda:us-east-1:000000000000:function:under-test',
      log_group: '/aws/lambda/under-test',
      environment: {},
      memory_mib: 128,
      max_result_bytes: MAX_PAYLOAD_BYTES,
      output: 'pipes',
      ...request,
    };
    this.controlChannel.write(encodeFrame(FrameType.load, undefined, Buffer.from(JSON.stringify(whole))));
    return this.nextControlFrame();
  }

  send(event: string | Buffer, header: Partial<InvokeHeader> = {}): void {
    this.functionChannel.write(invocation(event, header));
  }

  async invoke(event: string | Buffer, header: Partial<InvokeHeader> = {}): Promise<Frame> {
    this.send(event, header);
    return this.nextFunctionFrame();
  }

  /** REHEARSE; its answer is the next frame of the function channel. */
  rehearse(event: string): void {
    this.functionChannel.write(encodeFrame(FrameType.rehearse, { id: 'r', deadline_ms: 0 }, Buffer.from(event)));
  }

  /** Waits until the invocation under way has printed something that matches, on stdout. */
  async hasPrinted(pattern: RegExp): Promise<void> {
    const output = this.#child.stdout as Readable;
    while (!pattern.test(Buffer.concat(this.#stdout).toString('utf8'))) await once(output, 'data');
  }

  /** What invocation number `request` printed; waits until it is over. */
  async printedBy(request: number): Promise<Printed> {
    for (;;) {
      const printed = this.#printed[request];
      if (printed !== undefined) return printed;
      await new Promise<void>((resolve) => this.#printedWaiters.push(resolve));
    }
  }

  /** Ends the runtime as a vanished host does, and removes the function's files. */
  async stop(): Promise<GuestExit> {
    this.functionChannel.end();
    this.controlChannel.end();
    return this.remove();
  }

  /** Waits for a runtime that ends by itself, and removes the function's files. */
  async remove(): Promise<GuestExit> {
    const exit = await this.exited;
    await rm(this.root, { recursive: true, force: true });
    return exit;
  }

  async #fromRuntime(frame: Frame): Promise<void> {
    if (frame.type === FrameType.hello) return this.#controlFrames.push(frame);
    // All output was written before this frame: it waits in the pipes, which each turn of the event loop empties.
    await nextTurn();
    await nextTurn();
    // As in init: what hooks print belongs to the import, which STARTED ends.
    const endsRequest: number[] = [FrameType.started, FrameType.loadFailed, FrameType.done];
    if (endsRequest.includes(frame.type)) this.#endRequest();
    if (frame.type !== FrameType.done) return this.#controlFrames.push(frame);
    this.doneHeaders.push(frame.header);
    this.controlChannel.write(encodeFrame(FrameType.drained, undefined));
  }

  #endRequest(): void {
    this.#printed.push({
      stdout: Buffer.concat(this.#stdout).toString('utf8'),
      stderr: Buffer.concat(this.#stderr).toString('utf8'),
    });
    this.#stdout = [];
    this.#stderr = [];
    for (const resolve of this.#printedWaiters.splice(0)) resolve();
  }
}

/** An INVOKE frame. */
export function invocation(event: string | Buffer, header: Partial<InvokeHeader> = {}): Buffer {
  const whole: InvokeHeader = { id: 'request-1', deadline_ms: Date.now() + 60_000, ...header };
  return encodeFrame(FrameType.invoke, { ...whole }, Buffer.from(event));
}

export function failureOf(frame: Frame): FunctionFailure {
  return JSON.parse(frame.payload.toString('utf8')) as FunctionFailure;
}

function listen(channel: Duplex, onFrame: (frame: Frame) => void, onEnd: () => void): void {
  const reader = new FrameReader(MAX_FRAME_BYTES);
  channel.on('data', (chunk: Buffer) => {
    for (const frame of reader.push(chunk)) onFrame(frame);
  });
  // The runtime's end of the channel may be closed by the function at any time.
  channel.on('error', () => undefined);
  channel.on('close', onEnd);
}
