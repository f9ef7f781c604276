/** Runs in the live page. What a function answered, as people read it. */

/** Of a text that is shown; the whole can be downloaded. */
export const MOST_SHOWN = 20_000;

export interface AnswerText {
  readonly text: string;
  /** Of a failure: where it came from, a line each; null: it does not say. */
  readonly trace: readonly string[] | null;
}

/** JSON is indented, and the lines of a failure's trace are lines. What is no JSON stays as it is. */
export function answerText(text: string, isError: boolean): AnswerText {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { text, trace: null };
  }
  if (!isError || typeof value !== 'object' || value === null) return { text: indented(value, text), trace: null };
  const { errorType, errorMessage, ...rest } = value as Readonly<Record<string, unknown>>;
  const trace = linesOf(rest['trace'] ?? rest['stackTrace']);
  if (typeof errorMessage !== 'string' || trace === null) return { text: indented(value, text), trace: null };
  return { text: typeof errorType === 'string' ? `${errorType}: ${errorMessage}` : errorMessage, trace };
}

/** A number that JSON holds and we do not would be another one. */
function indented(value: unknown, text: string): string {
  const isExact = JSON.stringify(value) === text.replaceAll(/(?<=[:,])\s+/g, '') || !/\d{16}|\d[eE]/.test(text);
  return isExact ? JSON.stringify(value, null, 2) : text;
}

/** Python and Node both have arrays; an element may have several lines, and an end of its own. */
function linesOf(trace: unknown): readonly string[] | null {
  if (!Array.isArray(trace)) return null;
  return trace.flatMap((one) => String(one).replace(/\n$/, '').split('\n'));
}
