/**
 * Runs in snapctr. One request that may run a function, from its headers to the last byte of its answer.
 *
 * ```
 *  reading ──body complete──▶ running ──reply──▶ answered ──written──▶ (finished)
 *     │                          │ ↻ parts           ▲
 *     └── refused, cut off ──────┼──────────────────┘
 *                                └── client gone: the reply is dropped; the signal aborts, if the dialect has it so
 * ```
 */
import { setMaxListeners } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { ANYBODY, type Caller } from '../../auth/caller.ts';
import { openWhole, type BodyOpener } from '../../auth/body-opener.ts';
import type { SnapfaasError } from '../../protocol/errors.ts';
import { newTaskId, type Invocation, type Outcome, type Task, type TaskTrace } from '../task.ts';
import { isAnswer, type Dialect, type PartialOutput } from './dialect.ts';
import type { UnreadAnswer } from './byte-budget.ts';
import type { SubmitTask } from './gateway.ts';
import { send, type Answer, type HeaderList } from './http-answer.ts';
import type { Connection, OpenExchange } from './http-connection.ts';
import { shuttingDown } from './http-problems.ts';
import { traceHeaderOf } from './trace-header.ts';

/** What an exchange needs of its gateway. */
export interface ExchangeOwner {
  readonly maxPayloadBytes: number;
  readonly draining: boolean;
  readonly submit: SubmitTask;
  /** Longest time without progress that a client may take to read its answer, in ms. */
  readonly requestTimeoutMs: number;
  /** A request was answered with an error before it was a task. */
  refused(status: number): void;
  /** Called once before, and once after, the life of a submitted task, until its answer is written. */
  taskOpened(): void;
  taskFinished(): void;
}

const EMPTY = Buffer.alloc(0);
/** How long a body of unknown length waits for room for its next piece, in ms. */
const ROOM_PATIENCE_MS = 2000;
/** What a body takes of memory at most that goes to a sink piece by piece. */
const STREAMED_BYTES = 512 * 1024;

export class Exchange implements OpenExchange, PartialOutput, UnreadAnswer {
  readonly id = newTaskId();
  /** Set by whoever writes parts. */
  onDrain: () => void = () => undefined;
  readonly #owner: ExchangeOwner;
  readonly #dialect: Dialect;
  readonly #caller: Caller;
  readonly #connection: Connection;
  readonly #incoming: IncomingMessage;
  readonly #response: ServerResponse;
  #state: 'reading' | 'running' | 'answered' = 'reading';
  /** The first piece of the body, which most often is all of it. */
  #body: Buffer = EMPTY;
  /** All pieces, where there are several and their length was not declared. */
  #more: Buffer[] | null = null;
  /** All that has come, where there are several pieces and their length was declared. */
  #whole: Buffer | null = null;
  /** What the body has to pass on its way to the dialect's sink, if there is one; null from `begin` on. */
  #opener: BodyOpener | null = null;
  #declaredBytes = 0;
  #bodyBytes = 0;
  /** Of the budget, for the request. */
  #takenBytes = 0;
  #submitted = false;
  #gone = false;

  constructor(
    owner: ExchangeOwner,
    dialect: Dialect,
    connection: Connection,
    incoming: IncomingMessage,
    response: ServerResponse,
    caller: Caller = ANYBODY,
  ) {
    this.#owner = owner;
    this.#dialect = dialect;
    this.#caller = caller;
    this.#connection = connection;
    this.#incoming = incoming;
    this.#response = response;
    connection.opened(this);
  }

  /** Takes the body and submits the request. `waiting`: the client waits for "100 Continue" before it sends the body. */
  receive(waiting: boolean): void {
    const { headers } = this.#incoming;
    const refusal = this.#dialect.headerProblem(headers);
    // A caller that is not proven yet is told nothing but that, by `#complete`.
    if (refusal !== null && this.#caller.isProven) return this.refuse(refusal, { waiting });
    const declaredBytes = Number(headers['content-length'] ?? 0);
    if (declaredBytes > this.#dialect.maxBodyBytes) {
      return this.refuse(this.#dialect.tooLarge(declaredBytes), { waiting, close: true });
    }
    if (this.#owner.draining) return this.refuse(shuttingDown(), { waiting });
    const isStreamed = this.#dialect.sink !== undefined;
    const room = isStreamed ? STREAMED_BYTES : declaredBytes;
    if (!this.#connection.budget.tryTake(room)) {
      return this.refuse(this.#connection.budget.exhausted(room), { waiting, close: true });
    }
    this.#takenBytes = room;
    this.#declaredBytes = declaredBytes;
    if (isStreamed) this.#opener = this.#caller.bodyOpener();
    if (waiting) this.#response.writeContinue();
    this.#incoming.on('data', (chunk: Buffer) => this.#take(chunk));
    this.#incoming.on('end', () => this.#complete());
  }

  /**
   * Answers without running anything; the rest of the body is read and thrown away.
   *
   * With `close` the connection ends afterwards, but not before the body is in: closing on unread bytes would reset
   * the connection, and the client might never see the answer. The gateway's request timeout bounds that wait.
   */
  refuse(
    error: unknown,
    options: { readonly waiting?: boolean; readonly close?: boolean; readonly headers?: HeaderList } = {},
  ): void {
    if (this.#state === 'answered') return;
    this.#state = 'answered';
    this.#dropBody();
    this.#giveBack();
    const waiting = options.waiting ?? false;
    const close = waiting || this.#owner.draining || (options.close ?? false);
    const answer = this.#dialect.refusal(error, this.id, this.#submitted);
    if (!this.#submitted) this.#owner.refused(answer.status);
    if (options.headers !== undefined) answer.headers.push(...options.headers);
    if (close) answer.headers.push('connection', 'close');
    if (!close || waiting || this.#incoming.complete) return send(this.#response, answer, () => this.#finish());
    this.#response.writeHead(answer.status, answer.headers);
    this.#response.write(answer.body);
    this.#incoming.once('end', () => this.#response.end(() => this.#finish()));
    this.#incoming.resume();
  }

  /** The request will never be complete: the client stopped, was too slow, or sent bytes that are no HTTP. */
  onBodyAborted(error: SnapfaasError): void {
    if (this.#state !== 'reading') return this.#connection.destroy();
    this.#state = 'answered';
    this.#dropBody();
    const answer = this.#dialect.refusal(error, this.id, this.#submitted);
    if (!this.#submitted) this.#owner.refused(answer.status);
    this.#connection.closeAfter(answer);
    this.#finish();
  }

  get hasBegun(): boolean {
    return this.#response.headersSent;
  }

  get isGone(): boolean {
    return this.#gone;
  }

  get bodyMissing(): boolean {
    return !this.#incoming.complete;
  }

  onSocketClosed(): void {
    this.#gone = true;
    this.#dropBody();
    if (!this.#submitted) this.onDrain();
    // A task that runs is finished by its reply, which comes early if its signal aborts.
    if (this.#state !== 'running') this.#finish();
  }

  #take(chunk: Buffer): void {
    if (this.#state !== 'reading') return;
    const bodyBytes = this.#bodyBytes + chunk.length;
    if (bodyBytes > this.#dialect.maxBodyBytes) return this.refuse(this.#dialect.tooLarge(), { close: true });
    if (this.#opener !== null) return this.#pass(this.#opener, chunk);
    const missing = bodyBytes - this.#takenBytes;
    if (missing <= 0 || this.#connection.budget.tryTake(missing)) return this.#keep(chunk);
    this.#incoming.pause();
    void this.#connection.budget.take(missing, ROOM_PATIENCE_MS).then((hasRoom) => {
      if (this.#state !== 'reading' || this.#gone) return hasRoom ? this.#connection.budget.give(missing) : undefined;
      if (!hasRoom) return this.refuse(this.#connection.budget.exhausted(missing), { close: true });
      this.#keep(chunk);
      this.#incoming.resume();
    });
  }

  /** Nothing is read while the sink is full. */
  #pass(opener: BodyOpener, chunk: Buffer): void {
    this.#bodyBytes += chunk.length;
    try {
      let full: Promise<void> | null = null;
      for (const piece of opener.push(chunk)) full = this.#dialect.sink?.write(piece) ?? full;
      if (full === null) return;
      this.#incoming.pause();
      void full.then(() => this.#incoming.resume());
    } catch (error) {
      this.refuse(error, { close: true });
    }
  }

  #keep(chunk: Buffer): void {
    this.#bodyBytes += chunk.length;
    this.#takenBytes = Math.max(this.#takenBytes, this.#bodyBytes);
    if (this.#bodyBytes === chunk.length) this.#body = chunk;
    else if (this.#declaredBytes >= this.#bodyBytes) this.#fill(chunk);
    else (this.#more ??= [this.#body]).push(chunk);
  }

  /** In pieces until it is whole, a large body would take its memory twice. */
  #fill(chunk: Buffer): void {
    if (this.#whole === null) {
      this.#whole = Buffer.allocUnsafeSlow(this.#declaredBytes);
      this.#body.copy(this.#whole);
      this.#body = EMPTY;
    }
    chunk.copy(this.#whole, this.#bodyBytes - chunk.length);
  }

  #complete(): void {
    if (this.#state !== 'reading') return;
    const pieces = this.#more;
    const body = this.#whole ?? (pieces === null ? this.#body : Buffer.concat(pieces, this.#bodyBytes));
    this.#forgetBody();
    try {
      const begun = this.#begin(this.#open(body));
      if (begun instanceof Promise) return void this.#answerLater(begun);
      if (isAnswer(begun)) return this.#answerAtOnce(begun);
      if (this.#owner.draining) throw shuttingDown();
      this.#submit(begun);
    } catch (error) {
      this.refuse(error);
      if (this.#gone) this.#finish();
    }
  }

  /** @throws AccessError if it is not what was signed. */
  #open(body: Buffer): Buffer {
    if (this.#opener === null) return openWhole(this.#caller.bodyOpener(), body);
    this.#opener.end();
    return EMPTY;
  }

  #begin(body: Buffer): ReturnType<Dialect['begin']> {
    const refusal = this.#caller.isProven ? null : this.#dialect.headerProblem(this.#incoming.headers);
    if (refusal !== null) throw refusal;
    this.#opener = null;
    return this.#dialect.begin(body, this.id, this);
  }

  /** For answers without a run that have to be looked up. */
  async #answerLater(coming: Promise<Answer>): Promise<void> {
    this.#state = 'running';
    try {
      this.#answerAtOnce(await coming);
    } catch (error) {
      this.refuse(error);
      if (this.#gone) this.#finish();
    }
  }

  #answerAtOnce(answer: Answer): void {
    this.#state = 'answered';
    if (this.#gone) return this.#finish();
    this.#giveBack();
    this.#send(answer);
  }

  #submit(request: Invocation): void {
    const client = this.#dialect.outlivesClient ? NOBODY : this.#connection;
    const task = new HttpTask(this.id, request, client, this.#incoming, (outcome) => this.#reply(outcome));
    this.#state = 'running';
    this.#submitted = true;
    this.#owner.taskOpened();
    this.#owner.submit(task);
  }

  #reply(outcome: Outcome): void {
    if (this.#state !== 'running') throw new Error(`bug: task ${this.id} was answered twice`);
    this.#state = 'answered';
    if (this.#gone) return this.#finish();
    const answer = this.#dialect.answer(outcome, this.id);
    this.#giveBack();
    this.#send(answer);
  }

  /** Of an answer that has begun, its rest. */
  #send(answer: Answer): void {
    if (answer.isCutOff === true) {
      // A client of HTTP/1.0 knows no chunks.
      this.#connection.cutOff(this.#incoming.httpVersion === '1.0');
      this.#finish();
    } else if (this.#response.headersSent) {
      this.#response.end(answer.body, () => this.#finish());
    } else {
      if (this.#owner.draining) answer.headers.push('connection', 'close');
      send(this.#response, answer, () => this.#finish());
    }
    this.#awaitReader();
  }

  /** A client that does not read its answer must not hold it in our memory for ever. */
  #awaitReader(): void {
    const bytes = this.#response.writableLength;
    if (bytes === 0) return;
    this.#connection.budget.addAnswer(this, bytes);
    this.#connection.limitSilence(this.#owner.requestTimeoutMs);
  }

  drop(): void {
    this.#connection.destroy();
  }

  write(headers: HeaderList, part: Buffer, status = 200): boolean {
    if (this.#state !== 'running' || this.#gone) return false;
    if (!this.#response.headersSent) {
      if (this.#owner.draining) headers = [...headers, 'connection', 'close'];
      this.#response.writeHead(status, headers);
      this.#response.on('drain', () => {
        if (this.#state === 'running') this.#connection.limitSilence(0);
        this.onDrain();
      });
    }
    const hasRoom = this.#response.write(part);
    // Its function waits for it, and holds a VM meanwhile.
    if (!hasRoom) this.#connection.limitSilence(this.#owner.requestTimeoutMs);
    return hasRoom;
  }

  /** It is not going to be used. */
  #dropBody(): void {
    this.#forgetBody();
    if (this.#opener === null) return;
    this.#opener = null;
    this.#dialect.sink?.discard();
  }

  #forgetBody(): void {
    this.#body = EMPTY;
    this.#more = null;
    this.#whole = null;
  }

  #giveBack(): void {
    this.#connection.budget.give(this.#takenBytes);
    this.#takenBytes = 0;
  }

  /** The answer is written, or nobody is there to read it. Safe to call again. */
  #finish(): void {
    this.#giveBack();
    this.#connection.budget.removeAnswer(this);
    this.#connection.finished(this);
    if (!this.#submitted) return;
    this.#submitted = false;
    this.#owner.taskFinished();
  }
}

/** Whose hanging up ends a task. */
interface Client {
  readonly signal: AbortSignal;
}

/** In place of the client of a task that outlives it: never gone. */
const NOBODY: Client = { signal: new AbortController().signal };
// One listener for each task that runs is no leak.
setMaxListeners(0, NOBODY.signal);

class HttpTask implements Task {
  readonly id: string;
  readonly request: Invocation;
  readonly reply: (outcome: Outcome) => void;
  trace?: TaskTrace;
  readonly #client: Client;
  readonly #incoming: IncomingMessage;

  constructor(
    id: string,
    request: Invocation,
    client: Client,
    incoming: IncomingMessage,
    reply: (outcome: Outcome) => void,
  ) {
    this.id = id;
    this.request = request;
    this.reply = reply;
    this.#client = client;
    this.#incoming = incoming;
  }

  get signal(): AbortSignal {
    return this.#client.signal;
  }

  /** Looked at only if traces are made. */
  get callerTrace(): string | null {
    return traceHeaderOf(this.#incoming.headers);
  }
}
