/**
 * Which life of the process its random generators were seeded for. A snapshot ends one life; each VM that is restored from it
 * begins another. A generator compares the number at each use, so that a restore costs nothing but to raise it.
 *
 * One number for all threads: a worker that was running when the snapshot was taken sees it change as well.
 */
import worker = require('node:worker_threads');

const SHARED_AS = 'snapfaas.generation';
/** Between the seal and the start: what a generator takes from the kernel now is in the snapshot, and must not be kept. */
const SEALED = -1;

function share(): Int32Array {
  const made = new Int32Array(new SharedArrayBuffer(4));
  // Handed to each worker that is started, and by it to its own.
  worker.setEnvironmentData(SHARED_AS, made);
  return made;
}

const shared = worker.isMainThread ? share() : (worker.getEnvironmentData(SHARED_AS) as Int32Array | undefined);
const cell = shared ?? new Int32Array(1);
let lives = 0;

/** Below zero: state of now must not be used twice. */
export function generation(): number {
  return Atomics.load(cell, 0);
}

/** A snapshot is about to be taken. */
export function sealGenerators(): void {
  Atomics.store(cell, 0, SEALED);
}

/** This process is another one than it was: it may have been restored from a snapshot. */
export function renewGenerators(): void {
  lives += 1;
  Atomics.store(cell, 0, lives);
}
