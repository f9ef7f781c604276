/** Runs in snapctr. One client connection: what is open on it, and how it ends without cutting an answer. */
import { setMaxListeners } from 'node:events';
import type { Socket } from 'node:net';
import type { SnapfaasError } from '../../protocol/errors.ts';
import { rawAnswer, type Answer } from './http-answer.ts';

/** A request on a connection whose answer is not written yet. */
export interface OpenExchange {
  /** True while the request's body is not complete. */
  readonly bodyMissing: boolean;
  /** The body will never be complete. */
  cutOff(error: SnapfaasError): void;
  /** The client is gone. */
  disconnected(): void;
}

/** How long a client may take to read a last answer and close; it has the answer long before. */
const LINGER_MS = 1000;

/**
 * Node queues the responses of pipelined requests itself. What it does not do is the answer to bytes that are no
 * request: written at once, it would reach the client as the answer to an earlier request. It waits here for its turn.
 */
export class Connection {
  readonly #socket: Socket;
  readonly #refusal: (error: SnapfaasError) => Answer;
  readonly #open = new Set<OpenExchange>();
  /** The request that came last; the only one that can still be on its way in. */
  #latest: OpenExchange | null = null;
  #lastWords: Buffer | null = null;
  #silenceLimited = false;
  #linger: NodeJS.Timeout | null = null;
  #gone: AbortController | null = null;
  #isGone = false;

  /** @param refusal the answer to bytes that belong to no request. */
  constructor(socket: Socket, refusal: (error: SnapfaasError) => Answer) {
    this.#socket = socket;
    this.#refusal = refusal;
  }

  /** True if every request that came in has its answer. */
  get idle(): boolean {
    return this.#open.size === 0;
  }

  /** True if the client never sent a byte. */
  get silent(): boolean {
    return this.#socket.bytesRead === 0;
  }

  /** True once nothing more is taken from this connection. */
  get broken(): boolean {
    return this.#lastWords !== null;
  }

  /**
   * Aborted when the client is gone. All requests of a connection share it: a controller for each would be among the
   * largest costs of a request. Whoever listens to it must take the listener away again.
   */
  get signal(): AbortSignal {
    if (this.#gone === null) {
      this.#gone = new AbortController();
      // One listener for each pipelined request that runs is no leak.
      setMaxListeners(0, this.#gone.signal);
      if (this.#isGone) this.#gone.abort();
    }
    return this.#gone.signal;
  }

  opened(exchange: OpenExchange): void {
    this.#open.add(exchange);
    this.#latest = exchange;
  }

  finished(exchange: OpenExchange): void {
    if (!this.#open.delete(exchange)) return;
    if (this.#open.size === 0) this.#sayLastWords();
    else if (this.#silenceLimited) this.limitSilence(0);
  }

  /** What the client sends from here on makes no sense or does not come: `error` tells whoever it concerns. */
  failed(error: SnapfaasError): void {
    if (this.broken) return;
    if (!this.#socket.writable) this.#socket.destroy();
    else if (this.#latest?.bodyMissing === true) this.#latest.cutOff(error);
    else this.breakOff(this.#refusal(error));
  }

  /** Takes nothing more: what is open is answered, then comes `answer`, then the end. */
  breakOff(answer: Answer): void {
    if (this.broken) return;
    answer.headers.push('connection', 'close');
    this.#lastWords = rawAnswer(answer);
    if (this.#open.size === 0) this.#sayLastWords();
  }

  /** Closes the connection when no byte moves for so long, in ms; 0 takes the limit away again. */
  limitSilence(ms: number): void {
    this.#silenceLimited = ms > 0;
    this.#socket.setTimeout(ms);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** The socket is closed: whoever still waits for something on it is told. */
  closed(): void {
    if (this.#linger !== null) clearTimeout(this.#linger);
    this.#isGone = true;
    this.#gone?.abort();
    for (const exchange of [...this.#open]) exchange.disconnected();
    this.#open.clear();
  }

  #sayLastWords(): void {
    if (this.#lastWords === null || this.#linger !== null || this.#socket.destroyed) return;
    this.#socket.end(this.#lastWords);
    // Closing at once with unread bytes would reset the connection, and a reset can overtake the answer.
    this.#linger = setTimeout(() => this.#socket.destroy(), LINGER_MS);
  }
}
