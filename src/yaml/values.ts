/** Runs in snapctr, and in the commands that read YAML. Single values of YAML files, and what is said of those that do not fit. */
import { z } from 'zod';

/** The same `expected` words for a missing value, one of another type and one out of range. */
export function expected(words: string): { error: (issue: { readonly input?: unknown }) => string } {
  return {
    error: ({ input }) =>
      input === undefined ? `is missing; it must be ${words}` : `must be ${words}, not ${show(input)}`,
  };
}

export function wholeNumber(min: number, max: number, words: string): z.ZodType<number> {
  const wanted = expected(words);
  return z.number(wanted).int(wanted).min(min, wanted).max(max, wanted);
}

export function text(words: string): z.ZodType<string> {
  const wanted = expected(words);
  return z.string(wanted).min(1, wanted);
}

/** A value as it was written, short; for lists and maps only what they are. */
export function show(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
    case 'number':
    case 'bigint':
    case 'boolean':
      return `the ${typeof value} ${String(value)}`;
    default:
      if (value === null) return 'empty';
      return Array.isArray(value) ? 'a list' : 'a map';
  }
}

/** How a value has to be written to be a string. */
export function quoted(value: unknown): string {
  return typeof value === 'number' || typeof value === 'boolean' ? `"${String(value)}"` : '"…"';
}
