/** What the checks of several parsers have in common. */
import assert from 'node:assert/strict';
import type { Random } from './random.ts';

type ErrorClass = abstract new (...args: never[]) => Error;

/** What came of it: a value, or one of the errors that may be thrown. Whatever else is thrown, is. */
export function outcomeOf<T>(
  allowed: readonly ErrorClass[],
  work: () => T,
): { readonly value: T } | { readonly error: Error } {
  try {
    return { value: work() };
  } catch (error) {
    if (!(error instanceof Error) || !allowed.some((kind) => error instanceof kind)) throw error;
    assert.notEqual(error.message, '');
    return { error };
  }
}

/** The same for what takes its time. */
export async function outcomeOfPromise<T>(
  allowed: readonly ErrorClass[],
  work: () => Promise<T>,
): Promise<{ readonly value: T } | { readonly error: Error }> {
  try {
    return { value: await work() };
  } catch (error) {
    if (!(error instanceof Error) || !allowed.some((kind) => error instanceof kind)) throw error;
    assert.notEqual(error.message, '');
    return { error };
  }
}

/** So many pieces are small at most. */
const MOST_PIECES = 200;

/** The bytes in pieces, some of them empty. What is long comes in small ones around one place, and whole before and behind it. */
export function chunksOf(bytes: Buffer, random: Random): Buffer[] {
  const longest = 1 + (random.oneIn(4) ? 2 : random.below(bytes.length + 1));
  const reach = (MOST_PIECES * longest) >> 1;
  const begin = bytes.length > reach && random.oneIn(2) ? random.below(bytes.length) : 0;
  const chunks: Buffer[] = begin > 0 ? [bytes.subarray(0, begin)] : [];
  for (let at = begin; at < bytes.length;) {
    const next = chunks.length < MOST_PIECES ? at + random.below(longest + 1) : bytes.length;
    chunks.push(bytes.subarray(at, next));
    at = Math.min(next, bytes.length);
  }
  return chunks;
}

const WORDS = [
  '',
  'a',
  'function',
  'payload',
  '__proto__',
  'constructor',
  'toString',
  'é',
  '😀',
  '\u2028',
  '\\',
  '"',
  '\n',
  '\ud800',
] as const;
const NUMBERS = [
  '0',
  '-0',
  '1',
  '42',
  '-1',
  '1.5',
  '1e3',
  '1E-3',
  '1e999',
  '123456789012345678901234567890',
  '0.1e+1',
] as const;
const SPACES = ['', '', '', ' ', '\n', '\t', '\r\n', '  '] as const;

/** JSON text of any value, written in any way that JSON allows. */
export function jsonText(random: Random, depth = 3): string {
  const space = (): string => random.pick(SPACES);
  const kind = random.below(depth > 0 ? 8 : 5);
  if (kind < 2) return random.pick(NUMBERS);
  if (kind === 2) return random.pick(['true', 'false', 'null']);
  if (kind < 5) return jsonString(random);
  const members = Array.from({ length: random.below(4) }, () => {
    const value = space() + jsonText(random, depth - 1) + space();
    return kind === 5 ? value : `${space()}${jsonString(random)}${space()}:${value}`;
  });
  return kind === 5 ? `[${space()}${members.join(',')}]` : `{${space()}${members.join(',')}}`;
}

export function jsonString(random: Random, word: string = random.pick(WORDS)): string {
  const text = JSON.stringify(word);
  if (!random.oneIn(4) || word === '') return text;
  return `"${Array.from({ length: word.length }, (_, at) => `\\u${word.charCodeAt(at).toString(16).padStart(4, '0')}`).join('')}"`;
}

/** `JSON.parse`, or undefined: the text is none. */
export function parsedJson(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}
