/**
 * Runs in snapctr and in firerunner. Cuts a byte stream into lines. What has come of a line is kept in pieces, so that the work
 * is linear, and a line has a limit, so that a peer which never ends one costs itself alone.
 */

const NEWLINE = 0x0a;

/** The peer sent more bytes without a line feed than a line may have. The stream cannot be used after it. */
export class LineError extends Error {
  override readonly name = 'LineError';
}

export class LineReader {
  readonly #maxLineBytes: number;
  /** The beginning of a line whose end has not come; together `#pendingBytes` long. */
  #pending: Buffer[] = [];
  #pendingBytes = 0;

  /** @param maxLineBytes largest line, in bytes, without its line feed. */
  constructor(maxLineBytes: number) {
    this.#maxLineBytes = maxLineBytes;
  }

  /** Bytes received of a line that is not complete yet. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /**
   * @returns the lines that are complete now, decoded as UTF-8, without their line feeds.
   * @throws LineError if a line is over the limit.
   */
  push(chunk: Buffer): string[] {
    const lines: string[] = [];
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, from)) {
      lines.push(this.#finish(chunk.subarray(from, end)));
      from = end + 1;
    }
    if (from < chunk.length) this.#keep(chunk.subarray(from));
    return lines;
  }

  #keep(part: Buffer): void {
    this.#pendingBytes += part.length;
    if (this.#pendingBytes > this.#maxLineBytes) {
      this.#pending = [];
      throw new LineError(`a line is over the limit of ${this.#maxLineBytes} bytes`);
    }
    this.#pending.push(part);
  }

  #finish(last: Buffer): string {
    if (this.#pendingBytes + last.length > this.#maxLineBytes) this.#keep(last);
    const line = this.#pendingBytes === 0 ? last : Buffer.concat([...this.#pending, last]);
    this.#pending = [];
    this.#pendingBytes = 0;
    return line.toString('utf8');
  }
}
