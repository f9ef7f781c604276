/**
 * Runs in snapctr. The durable consumer of an event source on the server: what it has seen of the stream is kept there, so that a
 * snapctr that was killed loses nothing. Messages are asked for, some at a time; none comes unasked.
 */
import { AckPolicy, DeliverPolicy, jetstreamManager, JetStreamApiError } from '@nats-io/jetstream';
import type { ConsumerConfig, JetStreamManager } from '@nats-io/jetstream';
import { createInbox, nanos, type Msg, type NatsConnection, type Subscription } from '@nats-io/transport-node';
import type { FunctionEventSource } from '../../registry/function-registry.ts';
import { PulledMessage } from './pulled-message.ts';

/** A message that nobody has said a word of for so long is delivered again, in ms. */
export const ACK_WAIT_MS = 30_000;
/** Messages that wait for their next try, on the server; then it delivers no more. */
const MAX_ACK_PENDING = 20_000;
const API_LIMIT_MS = 5000;
/** A server that is there says so this often while it has nothing to send, in ms. */
const HEARTBEAT_MS = 5000;
/** The end of a request may come so much later than it should, in ms. */
const GRACE_MS = 2000;
const CONSUMER_NOT_FOUND = 10014;
const STREAM_NOT_FOUND = 10059;

export interface PullOptions {
  /** At most. */
  readonly messages: number;
  /** Of subjects, headers and data together, at most; null: whatever one message has. */
  readonly bytes: number | null;
  /** How long there may be less, in ms. */
  readonly waitMs: number;
  /** What has come by then is what there is. */
  readonly signal: AbortSignal;
}

export interface Pulled {
  readonly messages: readonly PulledMessage[];
  /** Why no more will come, whatever is asked for; null: they may. */
  readonly problem: string | null;
}

export function consumerName(id: string): string {
  return `snapfaas-${id}`;
}

/** Makes the consumer if there is none. @throws Error if the server or its stream is not there, or refuses. */
export async function openConsumer(connection: NatsConnection, source: FunctionEventSource): Promise<StreamConsumer> {
  const manager = await managerOf(connection);
  const name = consumerName(source.id);
  try {
    await manager.consumers.info(source.stream, name);
  } catch (error) {
    if (!(error instanceof JetStreamApiError)) throw error;
    if (error.code === STREAM_NOT_FOUND) throw new Error(`there is no stream ${source.stream}`, { cause: error });
    if (error.code !== CONSUMER_NOT_FOUND) throw error;
    await manager.consumers.add(source.stream, configOf(source, name));
  }
  return new StreamConsumer(connection, source.stream, name);
}

/** One that is not there is removed already. @throws Error */
export async function removeConsumer(connection: NatsConnection, stream: string, id: string): Promise<void> {
  const manager = await managerOf(connection);
  try {
    await manager.consumers.delete(stream, consumerName(id));
  } catch (error) {
    const isGone = error instanceof JetStreamApiError && [CONSUMER_NOT_FOUND, STREAM_NOT_FOUND].includes(error.code);
    if (!isGone) throw error;
  }
}

function managerOf(connection: NatsConnection): Promise<JetStreamManager> {
  return jetstreamManager(connection, { timeout: API_LIMIT_MS, checkAPI: false });
}

function configOf(
  { subject, startingPosition, startingTimestamp, function: name }: FunctionEventSource,
  durable: string,
): Partial<ConsumerConfig> {
  const start =
    startingPosition === 'AT_TIMESTAMP' && startingTimestamp !== null
      ? { deliver_policy: DeliverPolicy.StartTime, opt_start_time: startingTimestamp }
      : { deliver_policy: startingPosition === 'LATEST' ? DeliverPolicy.New : DeliverPolicy.All };
  return {
    durable_name: durable,
    description: `SnapFaaS: event source of the function ${name}`,
    ack_policy: AckPolicy.Explicit,
    ack_wait: nanos(ACK_WAIT_MS),
    // How often a message is tried is counted here, and its end is kept before it is acknowledged.
    max_deliver: -1,
    max_ack_pending: MAX_ACK_PENDING,
    ...(subject === null ? {} : { filter_subject: subject }),
    ...start,
  };
}

export class StreamConsumer {
  readonly #connection: NatsConnection;
  readonly #subject: string;

  constructor(connection: NatsConnection, stream: string, name: string) {
    this.#connection = connection;
    this.#subject = `$JS.API.CONSUMER.MSG.NEXT.${stream}.${name}`;
  }

  /** Resolves when all have come, the time is over, it is called off, or the server is away. Never rejects. */
  pull({ messages: wanted, bytes, waitMs, signal }: PullOptions): Promise<Pulled> {
    const inbox = createInbox();
    const messages: PulledMessage[] = [];
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | null = null;
      const isIdle = waitMs >= 2 * HEARTBEAT_MS;
      const patienceMs = isIdle ? 2 * HEARTBEAT_MS + GRACE_MS : waitMs + GRACE_MS;
      const end = (problem: string | null): void => {
        if (timer !== null) clearTimeout(timer);
        signal.removeEventListener('abort', callOff);
        subscription?.unsubscribe();
        resolve({ messages, problem });
      };
      const callOff = (): void => end(null);
      const expectMore = (): void => {
        if (timer !== null) clearTimeout(timer);
        timer = setTimeout(() => end('the server does not answer'), patienceMs);
      };
      const onMessage = (error: Error | null, message: Msg): void => {
        if (error !== null) return end(error.message);
        const status = message.headers?.code ?? 0;
        const pulled = PulledMessage.from(message);
        if (pulled !== null) {
          messages.push(pulled);
          if (messages.length >= wanted) return end(null);
          return expectMore();
        }
        if (status === HEARTBEAT) return expectMore();
        end(problemOf(status, message.headers?.description ?? ''));
      };
      let subscription: Subscription | null = null;
      if (signal.aborted) return end(null);
      try {
        subscription = this.#connection.subscribe(inbox, { callback: onMessage });
        const request = {
          batch: wanted,
          expires: nanos(waitMs),
          ...(bytes === null ? {} : { max_bytes: bytes }),
          ...(isIdle ? { idle_heartbeat: nanos(HEARTBEAT_MS) } : {}),
        };
        this.#connection.publish(this.#subject, JSON.stringify(request), { reply: inbox });
      } catch (error) {
        return end(error instanceof Error ? error.message : String(error));
      }
      signal.addEventListener('abort', callOff);
      expectMore();
    });
  }
}

const HEARTBEAT = 100;
const NO_MESSAGES = 404;
const EXPIRED = 408;
const CONFLICT = 409;
const NO_RESPONDERS = 503;

/** @returns null: the request is over, as requests are. */
function problemOf(status: number, description: string): string | null {
  if (status === NO_MESSAGES || status === EXPIRED) return null;
  // What does not fit goes into the next batch.
  if (status === CONFLICT && /max ?bytes/i.test(description)) return null;
  if (status === NO_RESPONDERS) return 'its consumer is not there any more, or JetStream is not';
  return `the server says ${status} ${description}`;
}
