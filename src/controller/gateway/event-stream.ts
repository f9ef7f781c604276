/**
 * Runs in snapctr. Messages of the format `application/vnd.amazon.eventstream`, in which streamed answers travel:
 *
 * ```
 *  0            4             8            12              12+H            N-4          N
 *  +------------+-------------+------------+---------------+---------------+------------+
 *  | N          | H           | CRC-32 of  | headers       | payload       | CRC-32 of  |
 *  | u32, BE    | u32, BE     | those 8    | H bytes       | N - 16 - H    | all before |
 *  +------------+-------------+------------+---------------+---------------+------------+
 *
 *  header:  length of name u8 | name | 7 (string) | length of value u16, BE | value
 * ```
 */
import { crc32 } from 'node:zlib';

const PRELUDE_BYTES = 12;
const CRC_BYTES = 4;
const STRING_TYPE = 7;

/** Encodes the constant headers of one type of event once; an exception is the last one of its stream. */
export class EventEncoder {
  readonly #headers: Buffer;

  constructor(type: string, contentType: string, kind: 'event' | 'exception' = 'event') {
    this.#headers = Buffer.concat([
      header(':message-type', kind),
      header(`:${kind}-type`, type),
      header(':content-type', contentType),
    ]);
  }

  encode(payload: Uint8Array): Buffer {
    const headersBytes = this.#headers.length;
    const message = Buffer.allocUnsafe(PRELUDE_BYTES + headersBytes + payload.length + CRC_BYTES);
    message.writeUInt32BE(message.length, 0);
    message.writeUInt32BE(headersBytes, 4);
    message.writeUInt32BE(crc32(message.subarray(0, 8)), 8);
    message.set(this.#headers, PRELUDE_BYTES);
    message.set(payload, PRELUDE_BYTES + headersBytes);
    const crcAt = message.length - CRC_BYTES;
    message.writeUInt32BE(crc32(message.subarray(0, crcAt)), crcAt);
    return message;
  }
}

function header(name: string, value: string): Buffer {
  const nameBytes = Buffer.from(name);
  const valueBytes = Buffer.from(value);
  const valueLength = Buffer.alloc(2);
  valueLength.writeUInt16BE(valueBytes.length);
  return Buffer.concat([Buffer.of(nameBytes.length), nameBytes, Buffer.of(STRING_TYPE), valueLength, valueBytes]);
}
