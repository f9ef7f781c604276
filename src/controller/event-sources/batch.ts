/**
 * Runs in snapctr. What a function gets of a stream: messages as records, some at a time, as SQS and Kinesis have them.
 * docs/event-sources.md shows it.
 */
import { streamArn, type LambdaAccount } from '../../protocol/arn.ts';
import type { FunctionEventSource } from '../../registry/function-registry.ts';

/** A message, and what can be said of it to its server. */
export interface StreamMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly headers?: { keys(): string[]; values(name: string): string[] } | undefined;
  /** Its place in the stream. */
  readonly seq: number;
  readonly time: Date;
  /** From 1 on. */
  readonly deliveryCount: number;
  /** It is done. */
  ack(): void;
  /** It is to be delivered again; absent: at once. */
  nak(pauseMs?: number): void;
  /** It is not forgotten. */
  working(): void;
}

export interface Batch<M extends StreamMessage = StreamMessage> {
  readonly messages: readonly M[];
  /** `{"Records": […]}` */
  readonly payload: Buffer;
}

const HEAD = '{"Records":[';
const TAIL = ']}';

/** What a function names a message by. */
export function messageId({ seq }: Pick<StreamMessage, 'seq'>): string {
  return String(seq);
}

/** As JSON. */
function recordOf(message: StreamMessage, { stream }: FunctionEventSource, account: LambdaAccount): string {
  const { subject, data, headers, seq, time, deliveryCount } = message;
  return JSON.stringify({
    messageId: messageId(message),
    eventSource: 'nats:jetstream',
    eventSourceARN: streamArn(account, stream),
    awsRegion: account.region,
    stream,
    subject,
    sequence: seq,
    timestamp: time.getTime(),
    deliveryCount,
    headers: Object.fromEntries((headers?.keys() ?? []).map((name) => [name, headers?.values(name) ?? []])),
    data: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64'),
  });
}

/** The event of one message. */
export function eventOf(message: StreamMessage, source: FunctionEventSource, account: LambdaAccount): Buffer {
  return Buffer.from(HEAD + recordOf(message, source, account) + TAIL);
}

export interface Batches<M extends StreamMessage> {
  readonly batches: readonly Batch<M>[];
  /** They fit into no event. */
  readonly tooLarge: readonly M[];
}

/**
 * Messages in batches, in their order, as few as the largest event allows. If batches are bisected, one that was delivered for the
 * second time is with half as many others at most, for the third time with a quarter, and so on until it is alone.
 */
export function intoBatches<M extends StreamMessage>(
  messages: readonly M[],
  source: FunctionEventSource,
  account: LambdaAccount,
  maxEventBytes: number,
): Batches<M> {
  const batches: Batch<M>[] = [];
  const tooLarge: M[] = [];
  let records: string[] = [];
  let taken: M[] = [];
  let bytes = 0;
  let most = source.batchSize;
  const finish = (): void => {
    if (taken.length > 0) batches.push({ messages: taken, payload: Buffer.from(HEAD + records.join(',') + TAIL) });
    records = [];
    taken = [];
    bytes = HEAD.length + TAIL.length;
    most = source.batchSize;
  };
  finish();
  for (const message of messages) {
    const record = recordOf(message, source, account);
    const size = Buffer.byteLength(record) + 1;
    if (HEAD.length + TAIL.length + size > maxEventBytes) {
      tooLarge.push(message);
      continue;
    }
    const fitting = fittingWith(message, source);
    if (bytes + size > maxEventBytes || taken.length >= Math.min(most, fitting)) finish();
    records.push(record);
    taken.push(message);
    bytes += size;
    most = Math.min(most, fitting);
  }
  finish();
  return { batches, tooLarge };
}

function fittingWith({ deliveryCount }: StreamMessage, { batchSize, bisectsBatches }: FunctionEventSource): number {
  if (!bisectsBatches || deliveryCount <= 1) return batchSize;
  return Math.max(1, Math.ceil(batchSize / 2 ** Math.min(deliveryCount - 1, 20)));
}
