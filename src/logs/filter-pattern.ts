/**
 * Runs in snapctr. Filter patterns of CloudWatch Logs, as far as they are about words: `ERROR`, `"of a phrase"`, `-without`, and
 * `?one ?or ?another`, which count only where nothing else is asked for.
 */

/** A pattern that is none, or of a kind that is not offered. */
export class FilterPatternError extends Error {
  override readonly name = 'FilterPatternError';
}

/** CloudWatch's own limit, in characters. */
export const MAX_PATTERN = 1024;

const TERM = /([?-]?)(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))(?=\s|$)/y;

/** @throws FilterPatternError */
export function filterOf(pattern: string): (message: string) => boolean {
  const text = pattern.trim();
  if (text.length > MAX_PATTERN) throw new FilterPatternError(`the pattern is longer than ${MAX_PATTERN} characters`);
  if (/^[{[]/.test(text)) {
    throw new FilterPatternError('patterns for JSON and for columns are not offered; look for words or "phrases"');
  }
  const all: string[] = [];
  const any: string[] = [];
  const none: string[] = [];
  for (let at = 0; at < text.length;) {
    TERM.lastIndex = at;
    const [whole, sign = '', phrase, word = ''] = TERM.exec(text) ?? [];
    if (whole === undefined) throw new FilterPatternError(`what begins with ${text.slice(at, at + 20)} is no term`);
    if (/^%.*%$/.test(word)) throw new FilterPatternError('regular expressions are not offered; look for words');
    const term = phrase?.replace(/\\(.)/g, '$1') ?? word;
    (sign === '?' ? any : sign === '-' ? none : all).push(term);
    at = TERM.lastIndex;
    while (text[at] === ' ' || text[at] === '\t') at += 1;
  }
  return (message) =>
    all.every((term) => message.includes(term)) &&
    !none.some((term) => message.includes(term)) &&
    (all.length + none.length > 0 || any.length === 0 || any.some((term) => message.includes(term)));
}
