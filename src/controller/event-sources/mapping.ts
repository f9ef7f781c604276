/**
 * Runs in snapctr. One event source mapping while it runs:
 *
 * ```
 *   Creating ──▶ Enabled ⇄ Disabled        first message ──▶ batch filled ──▶ submit ──▶ all answered for: acknowledged,
 *      consumer made ↑                        ▲  when a batch may run            │         or to come again after a pause
 *                                             └──────────────────────────────────┘
 * ```
 *
 * Messages are asked for only when a batch of them can run, and are acknowledged only when the function has answered. Whatever is
 * killed before, the server delivers them again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { functionArn, type LambdaAccount } from '../../protocol/arn.ts';
import { messageOf, SnapfaasError } from '../../protocol/errors.ts';
import type { FunctionEventSource } from '../../registry/function-registry.ts';
import type { SubmitTask } from '../gateway/gateway.ts';
import { isFunctionsDoing } from '../gateway/lambda/failures.ts';
import type { Logger } from '../log.ts';
import { newTaskId, type Outcome } from '../task.ts';
import { eventOf, intoBatches, messageId, type Batch } from './batch.ts';
import { failedItems } from './batch-result.ts';
import type { FailedMessages } from './failed-messages.ts';
import type { NatsClient } from './nats-client.ts';
import { pauseMs, retryPauseMs } from './pauses.ts';
import type { PulledMessage } from './pulled-message.ts';
import type { Room } from './room.ts';
import { ACK_WAIT_MS, openConsumer, type StreamConsumer } from './stream-consumer.ts';

/** A request for the first message of a batch is made anew after so long, in ms. */
const IDLE_MS = 30_000;
/** One that is answered sooner than this without a message was not waited for, in ms. */
const HASTY_MS = 1000;
/** Messages that come so soon after the first one are in its batch, if it waits for none, in ms. */
const LINGER_MS = 20;
/** While there is no room for a batch, it is tried again after pauses from the one to the other, in ms. */
const FIRST_ROOM_PAUSE_MS = 100;
const LONGEST_ROOM_PAUSE_MS = 5000;
/** A message whose end could not be kept comes again after so long, in ms. */
const UNKEPT_PAUSE_MS = 60_000;
/** Of an event, what a message's own bytes may be: base64 takes four for three. */
const SHARE_OF_DATA = 3 / 4;

export interface MappingOptions {
  readonly client: NatsClient;
  readonly submit: SubmitTask;
  /** Batches of a function that may run at once; 0: it cannot be invoked. */
  readonly limitOf: (name: string) => number;
  readonly failed: FailedMessages;
  readonly room: Room;
  readonly maxEventBytes: number;
  readonly account: LambdaAccount;
  readonly logger: Logger;
}

/** By the words of AWS. */
export interface MappingState {
  readonly state: 'Creating' | 'Enabled' | 'Disabling' | 'Disabled';
  readonly lastResult: string;
}

export const NOTHING_YET = 'No records processed';

export class Mapping {
  #source: FunctionEventSource;
  readonly #options: MappingOptions;
  readonly #stop = new AbortController();
  /** Calls off what waits for messages. */
  #pulling = new AbortController();
  /** Messages that are here, by their place in the stream. */
  readonly #held = new Map<number, PulledMessage>();
  readonly #running = new Set<Promise<void>>();
  readonly #ended: Promise<void>;
  readonly #heartbeat: NodeJS.Timeout;
  #wake: (() => void) | null = null;
  #hasConsumer = false;
  #lastResult = NOTHING_YET;
  #isFailing = false;

  constructor(source: FunctionEventSource, options: MappingOptions) {
    this.#source = source;
    this.#options = options;
    this.#heartbeat = setInterval(() => this.#keepHeld(), ACK_WAIT_MS / 3);
    this.#ended = this.#live();
  }

  /** What it is from now on; batches that run are answered for as they were begun. */
  set source(source: FunctionEventSource) {
    this.#source = source;
    this.#callOffPull();
    this.wake();
  }

  get source(): FunctionEventSource {
    return this.#source;
  }

  get state(): MappingState {
    const { isEnabled } = this.#source;
    const state = isEnabled
      ? this.#hasConsumer
        ? 'Enabled'
        : 'Creating'
      : this.#running.size > 0
        ? 'Disabling'
        : 'Disabled';
    return { state, lastResult: this.#lastResult };
  }

  /** Whether what it did last went wrong. */
  get isFailing(): boolean {
    return this.#isFailing;
  }

  /** Something that it waits for may be there now. */
  wake(): void {
    this.#wake?.();
  }

  /** The server has forgotten what it was asked. */
  reconnected(): void {
    this.#callOffPull();
    this.wake();
  }

  /** Asks for no more messages; resolves when all that are here were answered for. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#callOffPull();
    this.wake();
    await this.#ended;
    await Promise.all(this.#running);
    clearInterval(this.#heartbeat);
  }

  #callOffPull(): void {
    this.#pulling.abort();
    this.#pulling = new AbortController();
  }

  get #isStopped(): boolean {
    return this.#stop.signal.aborted;
  }

  async #live(): Promise<void> {
    let failures = 0;
    while (!this.#isStopped) {
      if (!this.#source.isEnabled) {
        await this.#woken(null);
        continue;
      }
      try {
        const consumer = await openConsumer(this.#options.client.connection(), this.#source);
        this.#hasConsumer = true;
        if (this.#isFailing) this.#note(null);
        await this.#pullFrom(consumer, () => (failures = 0));
      } catch (error) {
        this.#note(`${messageOf(error)}; it is tried again`);
        await this.#woken(pauseMs(failures));
        failures += 1;
      }
    }
  }

  /** Until it is stopped or paused. @throws Error if messages cannot be had. */
  async #pullFrom(consumer: StreamConsumer, onPulled: () => void): Promise<void> {
    const { room } = this.#options;
    while (!this.#isStopped && this.#source.isEnabled) {
      if (!this.#mayRun() || !room.hasRoom) {
        await this.#woken(null);
        continue;
      }
      const { signal } = this.#pulling;
      const asked = performance.now();
      const first = await consumer.pull({ messages: 1, bytes: null, waitMs: IDLE_MS, signal });
      const messages = this.#take(first.messages);
      let { problem } = first;
      if (messages.length > 0 && this.#source.batchSize > 1 && problem === null) {
        const { batchSize, batchingWindowS } = this.#source;
        const more = await consumer.pull({
          messages: batchSize - 1,
          bytes: Math.floor(Math.min(this.#options.maxEventBytes, room.bytesOfBatch) * SHARE_OF_DATA),
          waitMs: Math.max(LINGER_MS, batchingWindowS * 1000),
          signal,
        });
        messages.push(...this.#take(more.messages));
        ({ problem } = more);
      }
      if (problem === null) onPulled();
      // A server that answers at once that there is nothing is not asked again and again.
      const isHasty = messages.length === 0 && performance.now() - asked < HASTY_MS;
      if (problem === null && isHasty && !signal.aborted) await this.#woken(HASTY_MS);
      await this.#start(messages);
      if (problem !== null) throw new Error(problem);
    }
  }

  /** Those that are not here already: a connection that was lost for long has them delivered again. */
  #take(messages: readonly PulledMessage[]): PulledMessage[] {
    const taken = messages.filter(({ seq }) => !this.#held.has(seq));
    for (const message of taken) {
      this.#held.set(message.seq, message);
      this.#options.room.take(message.bytes);
    }
    return taken;
  }

  #leave(message: PulledMessage): void {
    if (!this.#held.delete(message.seq)) return;
    this.#options.room.give(message.bytes);
  }

  #mayRun(): boolean {
    const { parallelizationFactor, function: name } = this.#source;
    return this.#running.size < Math.min(parallelizationFactor, this.#options.limitOf(name));
  }

  /** Resolves when all of them run, or were given back. */
  async #start(messages: readonly PulledMessage[]): Promise<void> {
    const { account, maxEventBytes } = this.#options;
    const { batches, tooLarge } = intoBatches(messages, this.#source, account, maxEventBytes);
    for (const message of tooLarge) {
      this.#note(`the message ${messageId(message)} is larger than an event may be; it stays in the stream`);
      this.#giveBack(message, retryPauseMs(Infinity));
    }
    for (const batch of batches) {
      while (!this.#mayRun() && !this.#isStopped) await this.#woken(null);
      if (this.#isStopped) {
        for (const message of batch.messages) this.#giveBack(message);
        continue;
      }
      const running = this.#run(batch, this.#source).finally(() => {
        this.#running.delete(running);
        this.wake();
      });
      this.#running.add(running);
    }
  }

  async #run(batch: Batch<PulledMessage>, source: FunctionEventSource): Promise<void> {
    const { messages, payload } = batch;
    const id = newTaskId();
    try {
      const outcome = await this.#invoke(id, payload, source);
      if (outcome === null) {
        for (const message of messages) this.#giveBack(message);
        return;
      }
      const failed = failedOf(batch, outcome, source);
      this.#note(failed.size === 0 ? null : `Function call failed: ${reasonOf(outcome, failed.size, messages.length)}`);
      for (const message of messages) {
        if (!failed.has(messageId(message))) message.ack();
        else await this.#onFailed(id, message, outcome, source);
        this.#leave(message);
      }
    } catch (error) {
      this.#options.logger.error({ function: source.function, eventSource: source.id }, messageOf(error));
      for (const message of messages) this.#giveBack(message, UNKEPT_PAUSE_MS);
    }
  }

  /** @returns null: it did not run, or it is not known whether it did; the mapping is paused or ends, or snapctr does. */
  async #invoke(id: string, payload: Buffer, source: FunctionEventSource): Promise<Outcome | null> {
    for (let pause = FIRST_ROOM_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_ROOM_PAUSE_MS)) {
      const outcome = await this.#submit(id, payload, source);
      if (outcome.status === 'ok') return outcome;
      if (outcome.error.code === 'shutting_down') return null;
      if (isFunctionsDoing(outcome)) return outcome;
      // It did not run: that is no try.
      this.#note(`Function call failed: ${outcome.error.message}; it is tried again`);
      await sleep(pause, undefined, { signal: this.#stop.signal }).catch(() => undefined);
      if (this.#isStopped || !this.#source.isEnabled) return null;
    }
  }

  #submit(id: string, payload: Buffer, { function: name, qualifier }: FunctionEventSource): Promise<Outcome> {
    const { account, submit } = this.#options;
    const arn = functionArn(account, name) + (qualifier === null ? '' : `:${qualifier}`);
    return new Promise((resolve) => {
      const request = {
        function: name,
        qualifier,
        payload,
        lambda: { header: { arn }, sink: null, wantsReport: false },
      };
      try {
        submit({ id, request, signal: new AbortController().signal, reply: resolve });
      } catch (error) {
        resolve({ status: 'error', error: SnapfaasError.from(error), start: null });
      }
    });
  }

  async #onFailed(id: string, message: PulledMessage, outcome: Outcome, source: FunctionEventSource): Promise<void> {
    const { account, failed, logger } = this.#options;
    const { maximumRetryAttempts: most } = source;
    const tries = message.deliveryCount;
    if (most === -1 || tries <= most) return message.nak(retryPauseMs(tries));
    try {
      const event = { id, payload: eventOf(message, source, account) };
      await failed.keep(source, event, { tries, outcome });
      message.ack();
    } catch (error) {
      const what = `the message ${messageId(message)} of ${source.stream} failed for good, which cannot be kept`;
      logger.error({ function: source.function }, `${what}: ${messageOf(error)}; it is tried again`);
      message.nak(UNKEPT_PAUSE_MS);
    }
  }

  #giveBack(message: PulledMessage, pause?: number): void {
    if (this.#held.has(message.seq)) message.nak(pause);
    this.#leave(message);
  }

  #keepHeld(): void {
    // What cannot leave now would only pile up.
    if (!this.#options.client.isConnected) return;
    for (const message of this.#held.values()) message.working();
  }

  /** @param problem null: all went well. */
  #note(problem: string | null): void {
    const result = problem === null ? 'OK' : `PROBLEM: ${problem}`;
    if (problem !== null && result !== this.#lastResult) {
      const { function: name, id, stream } = this.#source;
      this.#options.logger.warn(
        { function: name, eventSource: id, stream },
        `an event source has a problem: ${problem}`,
      );
    }
    this.#lastResult = result;
    this.#isFailing = problem !== null;
  }

  /** @param limitMs null: however long it takes. */
  async #woken(limitMs: number | null): Promise<void> {
    if (this.#isStopped) return;
    await new Promise<void>((resolve) => {
      const timer = limitMs === null ? null : setTimeout(resolve, limitMs);
      this.#wake = () => {
        if (timer !== null) clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = null;
  }
}

function failedOf(
  { messages }: Batch<PulledMessage>,
  outcome: Outcome,
  source: FunctionEventSource,
): ReadonlySet<string> {
  const ids = messages.map(messageId);
  if (outcome.status === 'error') return new Set(ids);
  return source.reportsFailures ? failedItems(outcome.result, ids) : new Set();
}

function reasonOf(outcome: Outcome, failed: number, of: number): string {
  return outcome.status === 'error' ? outcome.error.message : `it reports ${failed} of ${of} messages as failed`;
}
