/**
 * Runs in snapctr. The parts of a streamed answer on their way to the client of a function URL:
 *
 * ```
 *   unbegun ──part with metadata──▶ metadata ──eight zero bytes──▶ begun
 *      └──────any other part───────────────────────────────────────▲──longer than was declared─┐
 *                                      └──no metadata──▶ bad: the rest is thrown away ◀────────┘
 * ```
 */
import type { StreamSink } from '../../../protocol/function-channel.ts';
import type { PartialOutput } from '../dialect.ts';
import {
  BadAnswer,
  hasBody,
  hasMetadata,
  MAX_HEAD_BYTES,
  METADATA_END_BYTES,
  metadataEnd,
  plainHead,
  readMetadata,
  type Head,
} from './result.ts';

const EMPTY = Buffer.alloc(0);

export class UrlSink implements StreamSink {
  readonly #output: PartialOutput;
  /** Adds what the gateway says on top. */
  readonly #complete: (head: Head) => Head;
  #head: Head | null = null;
  /** What has come of the metadata; null: there is none, or it has ended. */
  #metadata: Buffer | null = null;
  /** Whose metadata that is. */
  #contentType: string | null = null;
  readonly #isHead: boolean;
  /** Of the body, how much is still to come, in bytes; null: that was not declared. */
  #leftBytes: number | null = null;
  #bad: BadAnswer | null = null;

  /** @param isHead there is no body whose length could be compared. */
  constructor(output: PartialOutput, complete: (head: Head) => Head, isHead = false) {
    this.#output = output;
    this.#complete = complete;
    this.#isHead = isHead;
  }

  /** Whether the answer has begun. */
  get hasBegun(): boolean {
    return this.#head !== null;
  }

  /** What is wrong with the answer if nothing more comes of it; null: nothing. */
  get problem(): BadAnswer | null {
    if (this.#bad !== null) return this.#bad;
    if (this.#metadata !== null) return new BadAnswer('its metadata does not end with eight zero bytes');
    if (this.#leftBytes === null || this.#leftBytes === 0) return null;
    return new BadAnswer(`its body ends ${this.#leftBytes} bytes before its content-length says`);
  }

  write(part: Buffer, contentType: string | null = null): boolean {
    if (this.#bad !== null) return true;
    try {
      return this.#write(part, contentType);
    } catch (error) {
      if (!(error instanceof BadAnswer)) throw error;
      this.#bad = error;
      return true;
    }
  }

  #write(part: Buffer, contentType: string | null): boolean {
    if (this.#head !== null) return this.#pass(this.#head, part);
    if (this.#metadata === null && !hasMetadata(contentType)) return this.#begin(plainHead(contentType), part);
    if (this.#metadata === null) this.#contentType = contentType;
    const seen = this.#metadata?.length ?? 0;
    const metadata = this.#metadata === null ? part : Buffer.concat([this.#metadata, part]);
    const end = metadataEnd(metadata, seen - METADATA_END_BYTES);
    if ((end ?? metadata.length) > MAX_HEAD_BYTES + METADATA_END_BYTES) {
      throw new BadAnswer(`its metadata has more than ${MAX_HEAD_BYTES} bytes`);
    }
    this.#metadata = end === null ? metadata : null;
    if (end === null) return true;
    const head = readMetadata(metadata.subarray(0, end), this.#contentType);
    return this.#begin(head, metadata.subarray(end + METADATA_END_BYTES));
  }

  #begin(head: Head, part: Buffer): boolean {
    if (!this.#isHead) this.#leftBytes = head.declaredBytes;
    this.#count(part);
    this.#head = this.#complete(head);
    return this.#output.write(this.#head.headers, hasBody(head.status) ? part : EMPTY, head.status);
  }

  #pass(head: Head, part: Buffer): boolean {
    this.#count(part);
    return this.#output.write(head.headers, hasBody(head.status) ? part : EMPTY, head.status);
  }

  /** What is more than was declared would be taken for the answer to the next request. */
  #count(part: Buffer): void {
    if (this.#leftBytes === null) return;
    if (part.length > this.#leftBytes) throw new BadAnswer('its body is longer than its content-length says');
    this.#leftBytes -= part.length;
  }

  get onDrain(): () => void {
    return this.#output.onDrain;
  }

  set onDrain(listener: () => void) {
    this.#output.onDrain = listener;
  }
}
