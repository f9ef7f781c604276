/**
 * Runs in snapctr. The bytes of a journal's file:
 *
 * ```
 *   file    "snapfaas" | u32 schema | mark: 8 random bytes | record, record, …
 *   record  mark | u32 length of the body | u32 CRC-32 of length and body | body
 *   body    u32 length of the JSON | JSON | payload
 * ```
 *
 * Numbers are little-endian. The mark is another one in each file, and nobody outside knows it: after damage it shows where the next
 * record begins, and no payload can look like one.
 */
import { crc32 } from 'node:zlib';
import { z } from 'zod';

/** Of what is written; a file with another number is refused. */
export const JOURNAL_SCHEMA = 1;
export const MAGIC = Buffer.from('snapfaas');
export const MARK_BYTES = 8;
export const FILE_HEADER_BYTES = MAGIC.length + 4 + MARK_BYTES;
export const FRAME_BYTES = MARK_BYTES + 8;
/** An event with its payload: the largest is a destination's record with a request and its answer. */
export const MAX_BODY_BYTES = 16 * 1024 * 1024;

const count = z.int().nonnegative();
const state = z.strictObject({
  status: z.enum(['pending', 'dead']),
  tries: count,
  at: z.number(),
  reason: z.string().nullable(),
});
const header = z.strictObject({
  arn: z.string().exactOptional(),
  client_context: z.string().exactOptional(),
  tenant_id: z.string().exactOptional(),
  trace: z.string().exactOptional(),
});

const attributes = z.strictObject({ RequestID: z.string(), ErrorCode: count, ErrorMessage: z.string() });

/** `event`: with its payload; written again with its state when its file goes. `state`: its new one. `done`: it is settled. */
const metaSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('event'),
    sequence: count,
    id: z.string(),
    target: z.string(),
    acceptedAt: z.number(),
    header: header.nullable(),
    hops: count,
    attributes: attributes.exactOptional(),
    origin: z.string().exactOptional(),
    state,
  }),
  z.strictObject({ kind: z.literal('state'), sequence: count, state }),
  z.strictObject({ kind: z.literal('done'), sequence: count }),
]);

export type RecordMeta = z.infer<typeof metaSchema>;
export type EventMeta = Extract<RecordMeta, { kind: 'event' }>;

export interface JournalRecord {
  readonly meta: RecordMeta;
  readonly payload: Buffer;
}

const NO_PAYLOAD: Buffer = Buffer.alloc(0);

export function fileHeader(mark: Buffer): Buffer {
  const schema = Buffer.alloc(4);
  schema.writeUInt32LE(JOURNAL_SCHEMA);
  return Buffer.concat([MAGIC, schema, mark]);
}

/** @returns null: it is none. */
export function readFileHeader(bytes: Buffer): { readonly schema: number; readonly mark: Buffer } | null {
  if (bytes.length < FILE_HEADER_BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) return null;
  const mark = Buffer.from(bytes.subarray(FILE_HEADER_BYTES - MARK_BYTES, FILE_HEADER_BYTES));
  return { schema: bytes.readUInt32LE(MAGIC.length), mark };
}

/** @returns the pieces of a record, of which the last is the payload itself: it is not copied. */
export function encodeRecord(mark: Buffer, meta: RecordMeta, payload = NO_PAYLOAD): readonly Buffer[] {
  const json = Buffer.from(JSON.stringify(meta));
  const head = Buffer.allocUnsafe(FRAME_BYTES + 4 + json.length);
  mark.copy(head);
  head.writeUInt32LE(4 + json.length + payload.length, MARK_BYTES);
  head.writeUInt32LE(json.length, FRAME_BYTES);
  json.copy(head, FRAME_BYTES + 4);
  const sum = crc32(payload, crc32(head.subarray(FRAME_BYTES), crc32(head.subarray(MARK_BYTES, MARK_BYTES + 4))));
  head.writeUInt32LE(sum, MARK_BYTES + 4);
  return payload.length === 0 ? [head] : [head, payload];
}

/**
 * The length of the body of a record.
 *
 * @param frame at least its first `FRAME_BYTES`.
 * @returns null: no record begins there.
 */
export function bodyLength(frame: Buffer, mark: Buffer): number | null {
  if (frame.length < FRAME_BYTES || !frame.subarray(0, MARK_BYTES).equals(mark)) return null;
  const length = frame.readUInt32LE(MARK_BYTES);
  return length >= 4 && length <= MAX_BODY_BYTES ? length : null;
}

/** @param bytes from the beginning of the record on. @returns null: they are damaged, or not all there. */
export function decodeRecord(bytes: Buffer, mark: Buffer): JournalRecord | null {
  const length = bodyLength(bytes, mark);
  if (length === null || bytes.length < FRAME_BYTES + length) return null;
  const body = bytes.subarray(FRAME_BYTES, FRAME_BYTES + length);
  const sum = crc32(body, crc32(bytes.subarray(MARK_BYTES, MARK_BYTES + 4)));
  if (sum !== bytes.readUInt32LE(MARK_BYTES + 4)) return null;
  const jsonLength = body.readUInt32LE(0);
  if (jsonLength > length - 4) return null;
  const meta = parseMeta(body.toString('utf8', 4, 4 + jsonLength));
  return meta === null ? null : { meta, payload: body.subarray(4 + jsonLength) };
}

function parseMeta(text: string): RecordMeta | null {
  try {
    return metaSchema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}
