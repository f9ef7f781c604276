/**
 * Runs in snapctr. Finds the members of the outermost object in JSON text, as byte ranges.
 *
 * Everything here relies on the text being valid JSON, which the caller has made sure of: then a value ends where its
 * brackets balance, and outside of strings only the bytes looked at below can occur.
 */

/** One member of the outermost object; `start` and `end` (exclusive) are the bytes of its value. */
export interface Member {
  readonly key: string;
  readonly start: number;
  readonly end: number;
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
/** Strings shorter than this are walked byte by byte; for longer ones a native search costs less than the walk. */
const SHORT_STRING_BYTES = 32;

/** The members in the order of the text, duplicates included. @param bytes valid JSON whose value is an object. */
export function topLevelMembers(bytes: Buffer): Member[] {
  const members: Member[] = [];
  let at = skipSpace(bytes, 0) + 1;
  for (;;) {
    at = skipSpace(bytes, at);
    if (bytes[at] !== QUOTE) return members;
    const keyEnd = stringEnd(bytes, at);
    const key = decodeString(bytes, at, keyEnd);
    const start = skipSpace(bytes, skipSpace(bytes, keyEnd) + 1);
    const end = valueEnd(bytes, start);
    members.push({ key, start, end });
    at = skipSpace(bytes, end);
    if (bytes[at] !== COMMA) return members;
    at += 1;
  }
}

function skipSpace(bytes: Buffer, at: number): number {
  let byte = bytes[at];
  while (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) byte = bytes[++at];
  return at;
}

/** Just behind the closing quote of the string that opens at `at`. */
function stringEnd(bytes: Buffer, at: number): number {
  let next = at + 1;
  const walkTo = Math.min(bytes.length, next + SHORT_STRING_BYTES);
  while (next < walkTo) {
    const byte = bytes[next];
    if (byte === QUOTE) return next + 1;
    next += byte === BACKSLASH ? 2 : 1;
  }
  for (;;) {
    const quote = bytes.indexOf(QUOTE, next);
    if (quote === -1) return bytes.length;
    let backslashes = 0;
    while (quote - backslashes > next && bytes[quote - backslashes - 1] === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return quote + 1;
    next = quote + 1;
  }
}

function decodeString(bytes: Buffer, start: number, end: number): string {
  const text = bytes.toString('utf8', start + 1, end - 1);
  // Escapes matter: "\u0066unction" is the same key as "function".
  return text.includes('\\') ? String(JSON.parse(`"${text}"`)) : text;
}

function valueEnd(bytes: Buffer, start: number): number {
  const first = bytes[start];
  if (first === QUOTE) return stringEnd(bytes, start);
  if (first === OPEN_BRACE || first === OPEN_BRACKET) return containerEnd(bytes, start);
  let at = start;
  while (at < bytes.length && !endsScalar(bytes[at])) at += 1;
  return at;
}

function endsScalar(byte: number | undefined): boolean {
  return byte === COMMA || byte === CLOSE_BRACE || byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** Just behind the bracket that closes the object or array at `start`. Depth is a counter, so no nesting can overflow. */
function containerEnd(bytes: Buffer, start: number): number {
  let depth = 0;
  let at = start;
  while (at < bytes.length) {
    const byte = bytes[at];
    if (byte === QUOTE) {
      at = stringEnd(bytes, at);
      continue;
    }
    at += 1;
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth += 1;
    else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      depth -= 1;
      if (depth === 0) return at;
    }
  }
  return at;
}
