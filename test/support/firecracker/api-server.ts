/**
 * Runs in the fake Firecracker. The API socket: bare HTTP/1.1 over a unix socket, as Firecracker's server answers it.
 *
 * Of all connections together one request is served at a time, in the order of arrival. A client that hangs up, or ends
 * its side before the answer, gets none.
 */
import { createServer, type Socket } from 'node:net';
import { HttpError, HttpParser, type HttpRequest } from './http-parser.ts';

const MAX_CONNECTIONS = 10;

export interface ApiAnswer {
  readonly status: 200 | 204 | 400;
  /** JSON, or raw text where a broken answer is wanted; none with 204. */
  readonly body?: string;
  /** The request had a deprecated member. */
  readonly isDeprecated?: boolean;
  /** Called once the answer is in the client's socket; the next request is served when it has resolved. */
  readonly sent?: () => void | Promise<void>;
}

export type ApiHandler = (request: HttpRequest) => Promise<ApiAnswer>;

export function fault(message: string): ApiAnswer {
  return { status: 400, body: JSON.stringify({ fault_message: message }) };
}

export class ApiServer {
  readonly #handler: ApiHandler;
  readonly #maxBodyBytes: number;
  readonly #connections = new Set<Socket>();
  #turn: Promise<void> = Promise.resolve();

  constructor(handler: ApiHandler, maxBodyBytes: number) {
    this.#handler = handler;
    this.#maxBodyBytes = maxBodyBytes;
  }

  /** Rejects if the path exists. The socket is never removed: Firecracker leaves it behind as well. */
  listen(path: string): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, (socket) => this.#connected(socket));
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
  }

  #connected(socket: Socket): void {
    socket.on('error', () => undefined);
    if (this.#connections.size >= MAX_CONNECTIONS) {
      const body = '{ "error": "Too many open connections" }';
      socket.end(
        `HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
      return;
    }
    this.#connections.add(socket);
    socket.on('close', () => this.#connections.delete(socket));
    socket.on('end', () => socket.destroy());
    const parser = new HttpParser(this.#maxBodyBytes);
    socket.on('data', (chunk) => {
      try {
        for (const request of parser.push(chunk)) this.#enqueue(socket, request);
      } catch (error) {
        if (!(error instanceof HttpError)) throw error;
        this.#refuse(socket, error);
      }
    });
  }

  /** The body has a raw newline inside a string: no valid JSON, as the real server's. */
  #refuse(socket: Socket, error: HttpError): void {
    socket.removeAllListeners('data');
    const body = `{ "error": "${error.message}\nAll previous unanswered requests will be dropped." }`;
    socket.end(answerBytes({ status: 400, body }));
  }

  #enqueue(socket: Socket, request: HttpRequest): void {
    this.#turn = this.#turn.then(async () => {
      if (socket.destroyed) return;
      const answer = await this.#handler(request);
      if (socket.writable) await new Promise<void>((resolve) => socket.write(answerBytes(answer), () => resolve()));
      await answer.sent?.();
    });
  }
}

/** The status line has no reason phrase; an answer without a body has no Content-Length. */
function answerBytes({ status, body, isDeprecated }: ApiAnswer): string {
  const lines = [`HTTP/1.1 ${status} `, 'Server: Firecracker API', 'Connection: keep-alive'];
  if (isDeprecated === true) lines.push('Deprecation: true');
  if (body !== undefined) lines.push('Content-Type: application/json', `Content-Length: ${Buffer.byteLength(body)}`);
  return `${lines.join('\r\n')}\r\n\r\n${body ?? ''}`;
}
