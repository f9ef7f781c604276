/** Runs in snapctr. The lines of a stream of bytes, in bounded memory. */

/** One line without its end. */
export interface Line {
  /** From 1, as editors count. */
  readonly number: number;
  /** Null: the line is over the limit and was skipped. */
  readonly bytes: Buffer | null;
}

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/**
 * Cuts `chunks` at line feeds. CRLF is a line end as well; the last line needs none. Of a line over the limit nothing is
 * kept: it is reported when it crosses the limit, and the rest of it is read past.
 *
 * @param maxLineBytes longest line, without its end.
 */
export async function* readLines(chunks: AsyncIterable<Buffer>, maxLineBytes: number): AsyncGenerator<Line> {
  let parts: Buffer[] = [];
  let partBytes = 0;
  let skipping = false;
  let number = 1;
  for await (const chunk of chunks) {
    let start = 0;
    while (start < chunk.length) {
      const lineFeed = chunk.indexOf(LINE_FEED, start);
      const end = lineFeed === -1 ? chunk.length : lineFeed;
      if (!skipping) {
        parts.push(chunk.subarray(start, end));
        partBytes += end - start;
        // One byte more may still turn out to be the carriage return.
        if (partBytes > maxLineBytes + 1) {
          yield { number, bytes: null };
          skipping = true;
          parts = [];
        }
      }
      if (lineFeed === -1) break;
      if (!skipping) yield finishLine(number, parts, maxLineBytes);
      parts = [];
      partBytes = 0;
      skipping = false;
      number += 1;
      start = lineFeed + 1;
    }
  }
  if (partBytes > 0 && !skipping) yield finishLine(number, parts, maxLineBytes);
}

function finishLine(number: number, parts: readonly Buffer[], maxLineBytes: number): Line {
  const [only] = parts;
  const whole = parts.length === 1 && only !== undefined ? only : Buffer.concat(parts);
  const bytes = whole.at(-1) === CARRIAGE_RETURN ? whole.subarray(0, -1) : whole;
  return { number, bytes: bytes.length > maxLineBytes ? null : bytes };
}
