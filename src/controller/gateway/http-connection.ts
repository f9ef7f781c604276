/** Runs in snapctr. One client connection: what is open on it, and how it ends without cutting an answer. */
import { setMaxListeners } from 'node:events';
import { Socket } from 'node:net';
import type { SnapfaasError } from '../../protocol/errors.ts';
import type { ClientBudget } from './byte-budget.ts';
import { rawAnswer, type Answer } from './http-answer.ts';

/** A request on a connection whose answer is not written yet. */
export interface OpenExchange {
  /** True while the request's body is not complete. */
  readonly bodyMissing: boolean;
  /** True once a part of its answer was written. */
  readonly hasBegun: boolean;
  /** The body will never be complete. */
  onBodyAborted(error: SnapfaasError): void;
  /** The client is gone. */
  onSocketClosed(): void;
}

/** How long a client may take to read a last answer and close; it has the answer long before. */
const LINGER_MS = 1000;
/** Requests of one connection that are worked on at once; of those behind them nothing but their heads is read. */
const MAX_OPEN = 16;
/** What every answer begins with, and when a byte of it is sent to a client that has closed its half, in ms. */
const ANSWER_BEGINS = Buffer.from('HTTP/1.1 ');
const PROBE_AFTER_MS = [100, 100, 1000, 5000, 15_000, 30_000];

/** A request whose turn has not come. */
interface WaitingRequest {
  readonly isComplete: () => boolean;
  readonly begin: () => void;
}

/**
 * Node queues the responses of pipelined requests itself. What it does not do is the answer to bytes that are no
 * request: written at once, it would reach the client as the answer to an earlier request. It waits here for its turn.
 */
export class Connection {
  /** What this client's requests and answers may take of memory. */
  readonly budget: ClientBudget;
  readonly #socket: Socket;
  readonly #refusal: (error: SnapfaasError) => Answer;
  readonly #open = new Set<OpenExchange>();
  readonly #waiting: WaitingRequest[] = [];
  /** The socket is not read, because of those. */
  #isHeld = false;
  /** Runs while it is found out whether a client that closed its half is still there. */
  #probe: NodeJS.Timeout | null = null;
  #saidAhead = 0;
  /** The request that came last; the only one that can still be on its way in. */
  #latest: OpenExchange | null = null;
  #lastAnswer: Buffer | null = null;
  #silenceLimited = false;
  /** Its last bytes are written, or about to be. */
  #isEnding = false;
  #linger: NodeJS.Timeout | null = null;
  #gone: AbortController | null = null;
  #isGone = false;

  /** @param refusal the answer to bytes that belong to no request. */
  constructor(socket: Socket, budget: ClientBudget, refusal: (error: SnapfaasError) => Answer) {
    this.budget = budget;
    this.#socket = socket;
    this.#refusal = refusal;
    socket.once('end', () => this.#probeClient());
    // Node resumes it for reasons of its own.
    socket.on('resume', () => {
      if (this.#isHeld) socket.pause();
    });
  }

  /** True if every request that came in has its answer. */
  get idle(): boolean {
    return this.#open.size === 0 && this.#waiting.length === 0;
  }

  /** True if the client never sent a byte. */
  get silent(): boolean {
    return this.#socket.bytesRead === 0;
  }

  /** True once nothing more is taken from this connection. */
  get broken(): boolean {
    return this.#lastAnswer !== null;
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

  /** Begins a request now or when its turn comes. @param isComplete whether all of it has come. */
  admit(isComplete: () => boolean, begin: () => void): void {
    if (this.#open.size < MAX_OPEN && this.#waiting.length === 0) return begin();
    this.#waiting.push({ isComplete, begin });
    this.#isHeld = true;
    this.#socket.pause();
  }

  opened(exchange: OpenExchange): void {
    this.#open.add(exchange);
    this.#latest = exchange;
  }

  finished(exchange: OpenExchange): void {
    if (!this.#open.delete(exchange)) return;
    while (this.#open.size < MAX_OPEN) {
      const next = this.#waiting.shift();
      if (next === undefined) break;
      next.begin();
    }
    if (this.#isHeld && this.#waiting.length === 0) {
      this.#isHeld = false;
      this.#socket.resume();
    }
    if (this.idle) this.#sendLastAnswer();
    else if (this.#silenceLimited) this.limitSilence(0);
  }

  /** What the client sends from here on makes no sense or does not come: `error` tells whoever it concerns. */
  onClientError(error: SnapfaasError): void {
    if (this.broken) return;
    if (!this.#socket.writable) return this.destroy();
    const last = this.#waiting.at(-1);
    if (last?.isComplete() === false) {
      this.#waiting.pop();
      this.closeAfter(this.#refusal(error));
    } else if (last === undefined && this.#latest?.bodyMissing === true) {
      this.#latest.onBodyAborted(error);
    } else {
      this.closeAfter(this.#refusal(error));
    }
  }

  /** Takes nothing more: what is open is answered, then comes `answer`, then the end. */
  closeAfter(answer: Answer): void {
    if (this.broken) return;
    answer.headers.push('connection', 'close');
    this.#lastAnswer = rawAnswer(answer);
    if (this.idle) this.#sendLastAnswer();
  }

  /** Closes the connection when no byte moves for so long, in ms; 0 takes the limit away again. */
  limitSilence(ms: number): void {
    this.#silenceLimited = ms > 0;
    // Node looks whether bytes have moved since it last looked, and lets the first time pass.
    this.#socket.setTimeout(Math.ceil(ms / 2));
  }

  /**
   * Ends the connection behind what was written of an answer; its client sees that the end is missing.
   *
   * @param isReset it would take the end of the connection for that of the answer, and a reset tells it otherwise.
   */
  cutOff(isReset: boolean): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    // Not at once: newer versions of Node keep what was written of a response until the end of this step.
    process.nextTick(() => {
      if (isReset) return void this.#socket.write('', () => this.#reset());
      // Only from then on: a client that still reads what was written gets it all. `limitSilence` is for one that does not.
      this.#socket.end(() => {
        if (!this.#socket.destroyed) this.#linger ??= setTimeout(() => this.#socket.destroy(), LINGER_MS);
      });
    });
  }

  /** TLS has an end of its own, which is missing then. */
  #reset(): void {
    if ('encrypted' in this.#socket) this.#socket.destroy();
    else this.#socket.resetAndDestroy();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** The socket is closed: whoever still waits for something on it is told. */
  closed(): void {
    if (this.#linger !== null) clearTimeout(this.#linger);
    if (this.#probe !== null) clearTimeout(this.#probe);
    this.#waiting.length = 0;
    this.#isGone = true;
    this.#gone?.abort();
    for (const exchange of [...this.#open]) exchange.onSocketClosed();
    this.#open.clear();
  }

  /**
   * The client has closed its half: it has sent all it wants to, or it is gone, which looks the same. Only who writes learns
   * which. So the answer's first bytes, which are known, are sent before there is one: who is gone resets the connection.
   */
  #probeClient(): void {
    const [next] = this.#open;
    const pauseMs = PROBE_AFTER_MS[this.#saidAhead];
    if (next === undefined || next.hasBegun || pauseMs === undefined || this.#isGone) return;
    this.#probe = setTimeout(() => {
      if (next.hasBegun || this.#isGone) return;
      if (this.#saidAhead === 0) this.#leaveOutWhatWasSaid();
      const byte = ANSWER_BEGINS.subarray(this.#saidAhead, this.#saidAhead + 1);
      this.#saidAhead += 1;
      Socket.prototype.write.call(this.#socket, byte);
      this.#probeClient();
    }, pauseMs);
  }

  /** The next answer is written without its first bytes: by whatever part of Node writes it, so it is done at the socket. */
  #leaveOutWhatWasSaid(): void {
    const socket = this.#socket;
    const write = (piece: string | Uint8Array, ...rest: unknown[]): boolean => {
      Reflect.deleteProperty(socket, 'write');
      if (this.#probe !== null) clearTimeout(this.#probe);
      const left = typeof piece === 'string' ? piece.slice(this.#saidAhead) : piece.subarray(this.#saidAhead);
      return Reflect.apply(socket.write.bind(socket), socket, [left, ...rest]) as boolean;
    };
    Object.defineProperty(socket, 'write', { value: write, configurable: true, writable: true });
  }

  #sendLastAnswer(): void {
    if (this.#lastAnswer === null || this.#isEnding || this.#socket.destroyed) return;
    this.#isEnding = true;
    this.#socket.write(this.#lastAnswer);
    this.#socket.end();
    // Closing at once with unread bytes would reset the connection, and a reset can overtake the answer.
    this.#linger = setTimeout(() => this.#socket.destroy(), LINGER_MS);
  }
}
