/**
 * Functions of the language and of Node as they were before the function could put its own in their place, by intent (fake
 * timers, a `process.exit` that does not) or not: what the runtime does for itself does not depend on it. Events and results are
 * read and written by whatever `JSON` is then, as in Lambda's client.
 */
import fs = require('node:fs');

export const { closeSync, fstatSync, openSync, readSync, write, writeSync } = fs;
export const { parse: parseJson, stringify: toJson } = JSON;
export const { setImmediate: inNextTurn } = globalThis;
export const exit: (status: number) => never = process.exit.bind(process);

const OriginalDate = Date;

/** The time of now, as `Date.prototype.toISOString` writes it. */
export function isoTime(): string {
  return new OriginalDate().toISOString();
}
