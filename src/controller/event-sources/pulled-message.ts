/**
 * Runs in snapctr. A message that was asked for: where it is said what becomes of it tells the subject that it is to be replied to.
 *
 * ```
 *   $JS.ACK.STREAM.CONSUMER.DELIVERED.STREAM-SEQUENCE.CONSUMER-SEQUENCE.NANOSECONDS.PENDING
 *   $JS.ACK.DOMAIN.ACCOUNT.STREAM.CONSUMER.DELIVERED.…                     by servers that have domains
 * ```
 */
import { nanos, type Msg } from '@nats-io/transport-node';
import type { StreamMessage } from './batch.ts';

const PREFIX = '$JS.ACK.';
const SHORT_TOKENS = 9;
/** Before what both have. */
const SHORT_OFFSET = 4;
const LONG_OFFSET = 6;
const NS_PER_MS = 1_000_000n;

export class PulledMessage implements StreamMessage {
  readonly seq: number;
  readonly time: Date;
  readonly deliveryCount: number;
  readonly #message: Msg;

  private constructor(message: Msg, numbers: readonly string[]) {
    const [delivered = '', seq = '', , nanoseconds = ''] = numbers;
    this.#message = message;
    this.deliveryCount = Number(delivered);
    this.seq = Number(seq);
    this.time = new Date(Number(BigInt(nanoseconds) / NS_PER_MS));
  }

  /** @returns null: it is none of a stream, but a word of the server. */
  static from(message: Msg): PulledMessage | null {
    const { reply } = message;
    if (reply === undefined || !reply.startsWith(PREFIX)) return null;
    const tokens = reply.split('.');
    const numbers = tokens.slice(tokens.length === SHORT_TOKENS ? SHORT_OFFSET : LONG_OFFSET);
    return numbers.slice(0, 4).every((text) => /^\d+$/.test(text)) ? new PulledMessage(message, numbers) : null;
  }

  get subject(): string {
    return this.#message.subject;
  }

  /** With its subject and headers. */
  get bytes(): number {
    const { data, headers, subject } = this.#message;
    let bytes = subject.length + data.byteLength;
    for (const name of headers?.keys() ?? []) bytes += name.length + (headers?.values(name).join('').length ?? 0);
    return bytes;
  }

  get data(): Uint8Array {
    return this.#message.data;
  }

  get headers(): StreamMessage['headers'] {
    return this.#message.headers;
  }

  ack(): void {
    this.#message.respond('+ACK');
  }

  nak(pauseMs?: number): void {
    this.#message.respond(pauseMs === undefined ? '-NAK' : `-NAK ${JSON.stringify({ delay: nanos(pauseMs) })}`);
  }

  working(): void {
    this.#message.respond('+WPI');
  }
}
