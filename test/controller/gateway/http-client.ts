/** A gateway on a free port, and clients that can misbehave. */
import { once } from 'node:events';
import { connect, isIPv6, type Socket } from 'node:net';
import { HttpGateway, type HttpGatewayOptions } from '../../../src/controller/gateway/http.ts';
import type { Task } from '../../../src/controller/task.ts';

export const MIB = 1024 * 1024;

/** Answers with the payload. */
export function echo(task: Task): void {
  task.reply({ status: 'ok', result: task.request.payload, start: 'warm' });
}

/** Tasks that wait until the test answers them. */
export class Held {
  readonly tasks: Task[] = [];
  #arrived: (() => void) | null = null;

  readonly submit = (task: Task): void => {
    this.tasks.push(task);
    this.#arrived?.();
  };

  /** Resolves when `count` tasks were submitted. */
  async until(count: number): Promise<readonly Task[]> {
    while (this.tasks.length < count) await new Promise<void>((resolve) => (this.#arrived = resolve));
    return this.tasks;
  }

  task(index: number): Task {
    const task = this.tasks[index];
    if (task === undefined) throw new Error(`there is no task ${index}`);
    return task;
  }
}

export async function withGateway(
  options: Partial<HttpGatewayOptions>,
  use: (gateway: HttpGateway, port: number) => Promise<void>,
): Promise<void> {
  const gateway = new HttpGateway({
    host: '127.0.0.1',
    port: 0,
    maxPayloadBytes: 6 * MIB,
    requestMemoryBytes: 256 * MIB,
    submit: echo,
    readiness: () => ({ ready: true }),
    status: () => ({ state: 'running' }),
    metrics: () => Promise.resolve({ contentType: 'text/plain; version=0.0.4', body: 'up 1\n' }),
    ...options,
  });
  await gateway.start();
  try {
    await use(gateway, gateway.address.port);
  } finally {
    await gateway.close();
  }
}

export interface RawResponse {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

/** A client that says exactly what it is told to, byte by byte. */
export class RawClient {
  readonly socket: Socket;
  #received = '';
  #ended = false;
  #error: string | null = null;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => (this.#received += text));
    socket.on('close', () => (this.#ended = true));
    socket.on('end', () => (this.#ended = true));
    socket.on('error', ({ code }: NodeJS.ErrnoException) => {
      this.#ended = true;
      this.#error = code ?? 'unknown';
    });
  }

  /** @param localAddress of loopback. */
  static async open(port: number, localAddress = '127.0.0.1'): Promise<RawClient> {
    const host = isIPv6(localAddress) ? '::1' : '127.0.0.1';
    const socket = connect({ port, host, localAddress, allowHalfOpen: true });
    await once(socket, 'connect');
    return new RawClient(socket);
  }

  send(bytes: string | Buffer): this {
    this.socket.write(bytes);
    return this;
  }

  /** Text that came so far and belongs to no response taken yet. */
  get received(): string {
    return this.#received;
  }

  /** Code of what broke the connection; null: nothing did. */
  get error(): string | null {
    return this.#error;
  }

  async #more(): Promise<boolean> {
    if (this.#ended) return false;
    const stop = new AbortController();
    const events = ['data', 'end', 'close'].map((event) => once(this.socket, event, { signal: stop.signal }));
    await Promise.race(events).catch(() => undefined);
    stop.abort();
    await Promise.allSettled(events);
    return true;
  }

  /** The next response, once it is whole. */
  async response(): Promise<RawResponse> {
    for (;;) {
      const headEnd = this.#received.indexOf('\r\n\r\n');
      if (headEnd !== -1) {
        const [statusLine = '', ...lines] = this.#received.slice(0, headEnd).split('\r\n');
        const headers = new Map(
          lines.map((line) => {
            const colon = line.indexOf(':');
            return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
          }),
        );
        const bodyStart = headEnd + 4;
        const length = Number(headers.get('content-length') ?? 0);
        if (this.#received.length >= bodyStart + length) {
          const body = this.#received.slice(bodyStart, bodyStart + length);
          this.#received = this.#received.slice(bodyStart + length);
          return { status: Number(statusLine.split(' ')[1]), headers, body };
        }
      }
      if (!(await this.#more())) throw new Error(`the connection ended; received: ${JSON.stringify(this.#received)}`);
    }
  }

  /** Resolves when the gateway has closed its side. */
  async ended(): Promise<void> {
    while (await this.#more());
  }
}

export function post(body: string | Buffer, headers = ''): Buffer {
  const bytes = Buffer.from(body as string);
  return Buffer.concat([
    Buffer.from(`POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${bytes.length}\r\n${headers}\r\n`),
    bytes,
  ]);
}

export function errorOf(response: RawResponse): { code: string; message: string; [key: string]: unknown } {
  return (JSON.parse(response.body) as { error: { code: string; message: string } }).error;
}
