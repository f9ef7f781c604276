/**
 * Runs in firerunner. A client of one Firecracker process's API: HTTP/1.1 over a unix socket, one request at a time.
 *
 * The server knows the length of a body from Content-Length alone, wants one for PUT and PATCH and none for GET, and answers
 * 204 without a body. Source: Firecracker's `firecracker.yaml` and docs/api_requests.
 */
import { Agent, request, type ClientRequestArgs } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { withLimit } from '../../protocol/abort.ts';
import { messageOf } from '../../protocol/errors.ts';
import { connectOwned } from '../../protocol/owned-socket.ts';
import { LaunchError } from '../machine.ts';
import type { ApiRequest } from './bodies.ts';

/** How long an answer may take unless it is said otherwise, in ms. */
const ANSWER_LIMIT_MS = 10_000;
/** Pause between two looks whether the socket is there, in ms. */
const SOCKET_POLL_MS = 1;
/** An answer is a few hundred bytes; one over this is not read on, in bytes. */
const MAX_ANSWER_BYTES = 64 * 1024;

/** The server said no. It lives on, but for a failed load. */
export class ApiRefusal extends LaunchError {
  constructor(name: string, { status, text }: Answer) {
    super(`Firecracker refused ${name} (${status}): ${faultMessage(text)}`);
  }
}

/** Where an API is: the path of its socket, and the user that the VMM runs as. */
export interface ApiAddress {
  readonly socketPath: string;
  readonly ownerUid: number;
}

/** Connections to one VMM. It takes ten at most; one, kept open, is enough. */
class ApiAgent extends Agent {
  readonly #address: ApiAddress;

  constructor(address: ApiAddress) {
    super({ keepAlive: true, maxSockets: 1 });
    this.#address = address;
  }

  override createConnection(
    _options: ClientRequestArgs,
    callback?: (error: Error | null, socket: Socket) => void,
  ): Socket | undefined {
    try {
      return connectOwned(this.#address.socketPath, this.#address.ownerUid);
    } catch (error) {
      // Node's own type wants a socket beside the error.
      (callback as ((error: unknown) => void) | undefined)?.(error);
      return undefined;
    }
  }
}

export class FirecrackerApi {
  readonly #agent: ApiAgent;

  constructor(address: ApiAddress) {
    this.#agent = new ApiAgent(address);
  }

  /**
   * Waits until the API answers.
   *
   * @param signal ends the wait with its reason.
   * @throws ApiRefusal if it answers with anything but success.
   */
  async untilUp(signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        const answer = await this.#exchange('GET', '/', null, signal);
        if (answer.status !== 200) throw new ApiRefusal('GET /', answer);
        return;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof Error) || !isNotUpYet(error)) throw error;
      }
      await sleep(SOCKET_POLL_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }

  /**
   * @param limitMs for the answer. After it the state of the VM is unknown: it must be killed.
   * @throws ApiRefusal with the server's reason; LaunchError if it does not answer, or breaks off; the signal's reason.
   */
  async send({ method, path, body }: ApiRequest, signal: AbortSignal, limitMs = ANSWER_LIMIT_MS): Promise<void> {
    const name = `${method} ${path}`;
    const text = JSON.stringify(body);
    const answer = await withLimit(limitMs, signal, (any) =>
      this.#exchange(method, path, text, any).catch((cause: unknown) => {
        signal.throwIfAborted();
        const what = any.aborted
          ? `did not answer ${name} within ${limitMs} ms`
          : `broke off ${name}: ${messageOf(cause)}`;
        throw new LaunchError(`Firecracker ${what}`, { cause });
      }),
    );
    if (answer.status === 204 || answer.status === 200) return;
    throw new ApiRefusal(name, answer);
  }

  /** Lets the connection go. */
  close(): void {
    this.#agent.destroy();
  }

  #exchange(method: string, path: string, body: string | null, signal: AbortSignal): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const headers =
        body === null ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
      const options = { agent: this.#agent, method, path, headers, signal };
      const outgoing = request(options, (incoming) => {
        let text = '';
        incoming.setEncoding('utf8');
        incoming.on('data', (chunk: string) => {
          text += chunk;
          if (text.length > MAX_ANSWER_BYTES) incoming.destroy(new Error(`an answer over ${MAX_ANSWER_BYTES} bytes`));
        });
        incoming.on('error', reject);
        incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, text }));
      });
      outgoing.on('error', reject);
      // In one piece: the server takes a half-closed connection for a closed one.
      if (body === null) outgoing.end();
      else outgoing.end(body);
    });
  }
}

export interface Answer {
  readonly status: number;
  readonly text: string;
}

/** The socket is not bound yet, or nobody accepts on it. */
function isNotUpYet(error: Error & { readonly code?: unknown }): boolean {
  return error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
}

/** Errors of its HTTP parser hold raw newlines and are no JSON. */
function faultMessage(text: string): string {
  try {
    const { fault_message: message } = JSON.parse(text) as { readonly fault_message?: unknown };
    if (typeof message === 'string') return message;
  } catch {
    // As it is, then.
  }
  return text.trim() === '' ? 'no reason given' : text.trim();
}
