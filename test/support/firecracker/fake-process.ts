/** Runs in tests of the fake Firecracker: one process of it, spoken to by bare sockets, so that nothing is smoothed over. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { encodeFrame, FrameReader, type Frame, type FrameHeader } from '../../../src/protocol/frame.ts';
import { MAX_FRAME_BYTES } from '../../../src/protocol/guest.ts';
import { until } from '../../end-to-end/processes.ts';

/** Longest wait for anything, in ms. */
const PATIENCE_MS = 20_000;

export interface FakeAnswer {
  readonly status: number;
  /** The head as it came. */
  readonly head: string;
  readonly body: string;
}

export interface FakeExit {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class FakeProcess {
  readonly directory: string;
  readonly child: ChildProcess;
  readonly exited: Promise<FakeExit>;
  stdout = '';
  stderr = '';

  private constructor(command: string, args: readonly string[], directory: string, env: NodeJS.ProcessEnv) {
    this.directory = directory;
    this.child = spawn(command, args, {
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    const patience = setTimeout(() => this.child.kill('SIGKILL'), PATIENCE_MS);
    this.exited = once(this.child, 'close').then(([status, signal]) => {
      clearTimeout(patience);
      return { status: status as number | null, signal: signal as NodeJS.Signals | null };
    });
  }

  /** Starts the program with any command line; nothing is waited for. */
  static run(command: string, args: readonly string[], directory: string, env: NodeJS.ProcessEnv = {}): FakeProcess {
    return new FakeProcess(command, args, directory, env);
  }

  /** Starts a Firecracker whose working directory is `directory`, and waits for its API. */
  static async start(command: string, directory: string, env: NodeJS.ProcessEnv = {}): Promise<FakeProcess> {
    const fake = new FakeProcess(command, ['--api-sock', 'api.sock', '--id', 'vm-1'], directory, env);
    await fake.listening();
    return fake;
  }

  listening(): Promise<void> {
    return until(`the API of ${this.directory} listens`, async () => {
      if (this.child.exitCode !== null) throw new Error(`it ended: ${this.stderr}`);
      const socket = await dial(join(this.directory, 'api.sock')).catch(() => null);
      socket?.destroy();
      return socket !== null;
    });
  }

  dialApi(): Promise<Socket> {
    return dial(join(this.directory, 'api.sock'));
  }

  /** @param body is sent as JSON; undefined: none. */
  async request(method: string, path: string, body?: unknown): Promise<FakeAnswer> {
    const json = body === undefined ? '' : JSON.stringify(body);
    const length = body === undefined ? '' : `Content-Length: ${Buffer.byteLength(json)}\r\n`;
    return this.raw(`${method} ${path} HTTP/1.1\r\nHost: localhost\r\n${length}\r\n${json}`);
  }

  /** Sends bytes on a connection of their own and returns the answer; rejects if none comes. */
  async raw(bytes: string | Buffer): Promise<FakeAnswer> {
    const socket = await this.dialApi();
    try {
      socket.write(bytes);
      return await readAnswer(socket);
    } finally {
      socket.destroy();
    }
  }

  /** PUTs or PATCHes; fails unless the answer is 204. */
  async ok(method: string, path: string, body: unknown): Promise<void> {
    const { status, body: text } = await this.request(method, path, body);
    if (status !== 204) throw new Error(`${method} ${path}: expected 204, got ${status} ${text}`);
  }

  /** Connects to a port of the guest; the socket is behind the newline of OK. */
  async dialGuest(port: number, path = 'v.sock'): Promise<GuestConnection> {
    const socket = await dial(join(this.directory, path));
    socket.write(`CONNECT ${port}\n`);
    let text = '';
    for (;;) {
      const byte = socket.read(1) as Buffer | null;
      if (byte === null) {
        if (socket.readableEnded || socket.destroyed)
          throw new Error(`port ${port}: closed after ${JSON.stringify(text)}`);
        await readableOrClosed(socket);
        continue;
      }
      if (byte[0] === 0x0a) break;
      text += byte.toString('latin1');
    }
    if (!/^OK \d+$/.test(text)) throw new Error(`port ${port}: expected OK, got ${text}`);
    return new GuestConnection(socket, text);
  }

  async kill(): Promise<FakeExit> {
    this.child.kill('SIGKILL');
    return this.exited;
  }
}

/** Frames to and from a port of the guest. */
export class GuestConnection {
  readonly socket: Socket;
  /** Such as "OK 1073741824". */
  readonly greeting: string;
  readonly closed: Promise<void>;
  readonly #frames: Frame[] = [];
  #isClosed = false;
  #wake: () => void = () => undefined;

  constructor(socket: Socket, greeting: string) {
    this.socket = socket;
    this.greeting = greeting;
    const reader = new FrameReader(MAX_FRAME_BYTES);
    socket.on('data', (bytes: Buffer) => {
      this.#frames.push(...reader.push(bytes));
      this.#wake();
    });
    this.closed = once(socket, 'close').then(() => {
      this.#isClosed = true;
      this.#wake();
    });
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  send(type: number, header?: FrameHeader, payload?: Buffer): void {
    this.socket.write(encodeFrame(type, header, payload));
  }

  /** The next frame; others of it that do not matter are skipped if a type is given. */
  async next(type?: number): Promise<Frame> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame !== undefined && (type === undefined || frame.type === type)) return frame;
      if (frame !== undefined) continue;
      if (this.#isClosed) throw new Error('the connection was closed');
      await new Promise<void>((resolve, reject) => {
        const patience = setTimeout(() => reject(new Error(`no frame within ${PATIENCE_MS} ms`)), PATIENCE_MS);
        this.#wake = () => {
          clearTimeout(patience);
          resolve();
        };
      });
    }
  }

  async close(): Promise<void> {
    this.socket.destroy();
    await this.closed;
  }
}

function readableOrClosed(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const over = (): void => {
      socket.off('readable', over).off('close', over);
      resolve();
    };
    socket.on('readable', over).on('close', over);
  });
}

export async function dial(path: string): Promise<Socket> {
  const socket = connect(path);
  await once(socket, 'connect');
  socket.on('error', () => undefined);
  return socket;
}

/** One HTTP answer. */
export function readAnswer(socket: Socket): Promise<FakeAnswer> {
  return new Promise((resolve, reject) => {
    let text = '';
    const patience = setTimeout(() => reject(new Error(`no answer, but: ${text}`)), PATIENCE_MS);
    const over = (): void => {
      clearTimeout(patience);
      socket.removeAllListeners('data');
      socket.removeAllListeners('close');
    };
    socket.on('data', (bytes: Buffer) => {
      text += bytes.toString('latin1');
      const end = text.indexOf('\r\n\r\n');
      if (end < 0) return;
      const head = text.slice(0, end);
      const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
      if (text.length < end + 4 + length) return;
      over();
      resolve({ status: Number(head.slice(9, 12)), head, body: text.slice(end + 4) });
    });
    socket.on('close', () => {
      over();
      reject(new Error(`closed without an answer: ${JSON.stringify(text)}`));
    });
  });
}
