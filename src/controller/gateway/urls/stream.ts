/**
 * Runs in snapctr. The parts of a streamed answer on their way to the client of a function URL:
 *
 * ```
 *   unbegun ──part with metadata──▶ metadata ──eight zero bytes──▶ begun
 *      └──────any other part───────────────────────────────────────▲
 *                                      └──no metadata──▶ bad: the rest is thrown away
 * ```
 */
import type { StreamSink } from '../../../protocol/function-channel.ts';
import type { PartialOutput } from '../dialect.ts';
import {
  BadAnswer,
  MAX_HEAD_BYTES,
  METADATA_END_BYTES,
  METADATA_TYPE,
  metadataEnd,
  plainHead,
  readMetadata,
  type Head,
} from './result.ts';

export class UrlSink implements StreamSink {
  readonly #output: PartialOutput;
  /** Adds what the gateway says on top. */
  readonly #complete: (head: Head) => Head;
  #head: Head | null = null;
  /** What has come of the metadata; null: there is none, or it has ended. */
  #metadata: Buffer | null = null;
  #bad: BadAnswer | null = null;

  constructor(output: PartialOutput, complete: (head: Head) => Head) {
    this.#output = output;
    this.#complete = complete;
  }

  /** Whether the answer has begun. */
  get hasBegun(): boolean {
    return this.#head !== null;
  }

  /** What is wrong with an answer that has not begun; null: nothing so far. */
  get problem(): BadAnswer | null {
    if (this.#bad === null && this.#metadata !== null) {
      return new BadAnswer('its metadata does not end with eight zero bytes');
    }
    return this.#bad;
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
    if (this.#head !== null) return this.#output.write(this.#head.headers, part, this.#head.status);
    if (this.#metadata === null && contentType !== METADATA_TYPE) return this.#begin(plainHead(contentType), part);
    const seen = this.#metadata?.length ?? 0;
    const metadata = this.#metadata === null ? part : Buffer.concat([this.#metadata, part]);
    const end = metadataEnd(metadata, seen - METADATA_END_BYTES);
    if ((end ?? metadata.length) > MAX_HEAD_BYTES + METADATA_END_BYTES) {
      throw new BadAnswer(`its metadata has more than ${MAX_HEAD_BYTES} bytes`);
    }
    this.#metadata = end === null ? metadata : null;
    if (end === null) return true;
    return this.#begin(readMetadata(metadata.subarray(0, end)), metadata.subarray(end + METADATA_END_BYTES));
  }

  #begin(head: Head, part: Buffer): boolean {
    this.#head = this.#complete(head);
    return this.#output.write(this.#head.headers, part, this.#head.status);
  }

  get onDrain(): () => void {
    return this.#output.onDrain;
  }

  set onDrain(listener: () => void) {
    this.#output.onDrain = listener;
  }
}
