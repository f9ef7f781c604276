/** Garbage of large invocations, which a small VM has no room for twice. */
import v8 = require('node:v8');
import vm = require('node:vm');

/** Events and results over this many bytes leave garbage that is collected at once. */
export const LARGE_BYTES = 1024 * 1024;

// V8 hands its collector to contexts that are made while the flag is set.
v8.setFlagsFromString('--expose-gc');
const collect = vm.runInNewContext('gc') as () => void;
v8.setFlagsFromString('--no-expose-gc');

/**
 * V8 lets garbage grow until its own limits tell it to look, and does not know how little memory the machine has: some copies
 * of 6 MiB each, two invocations in a row, and the kernel ends the process.
 */
export function collectGarbage(): void {
  collect();
}
