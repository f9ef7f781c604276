/**
 * A parser and what has to hold of it, whatever bytes it is given: it ends, within a time that is linear in their number; it
 * throws nothing but the errors that it names; what it accepts means what its format says. A valid case is made, mutated
 * in three of four cases, and checked. The seed decides everything.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { mutate } from './mutate.ts';
import { Random, seedOf } from './random.ts';

export interface ParserTarget {
  readonly name: string;
  /** What mutations insert beside single bytes. */
  readonly tokens: readonly string[];
  /** A valid case. */
  generate(random: Random): Buffer;
  /** Throws if a property does not hold. */
  check(input: Buffer, context: CaseContext): void | Promise<void>;
}

export interface CaseContext {
  /** Decided by the input. */
  readonly random: Random;
  /** The input is as `generate` made it. False: that is not known. */
  readonly isValid: boolean;
}

/** What a run of any target is asked for, and what it tells. */
export interface FuzzWish {
  readonly cases: number;
  /** Ends the run earlier; null: it does not. */
  readonly seconds: number | null;
  readonly seed: number;
}

export interface FuzzRun {
  readonly cases: number;
  readonly seconds: number;
}

/** A case over this size must not take longer than that, in bytes and in ms of processor time. */
const LARGE_BYTES = 2 * 1024;
const LARGE_LIMIT_MS = 2000;
/** Frames of an error that is expected: noting where each was made takes longer than most parsers do. */
const EXPECTED_ERROR_FRAMES = 0;
/** After so many the event loop has its turn. */
const TURN_CASES = 128;
/** A case that fails is made smaller so often at most. */
const SHRINKING_STEPS = 3000;

/** Of a case that fails. */
const MOST_SHOWN_BYTES = 1024;

/** A property that does not hold, with all that is needed to see it again. */
export class FuzzFailure extends Error {
  override readonly name = 'FuzzFailure';

  constructor(target: string, where: string, input: Buffer, cause: unknown) {
    const why = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
    const shown = input.subarray(0, MOST_SHOWN_BYTES);
    const size = shown.length === input.length ? '' : ` … of ${input.length} bytes; the seed makes the case again`;
    const text = JSON.stringify(shown.toString('latin1'));
    super(`${target}, ${where}: --input ${shown.toString('hex')}${size}\n${text}\n${why}`, { cause });
  }
}

/** @throws FuzzFailure at the first case that fails. */
export async function fuzz(target: ParserTarget, { cases, seconds, seed }: FuzzWish): Promise<FuzzRun> {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = EXPECTED_ERROR_FRAMES;
  try {
    return await fuzzCases(target, { cases, seconds, seed }, stackTraceLimit);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

async function fuzzCases(
  target: ParserTarget,
  { cases, seconds, seed }: FuzzWish,
  stackTraceLimit: number,
): Promise<FuzzRun> {
  const tokens = target.tokens.map((token) => Buffer.from(token, 'latin1'));
  const begun = performance.now();
  const limit = seconds === null ? Infinity : begun + seconds * 1000;
  let done = 0;
  let other = target.generate(new Random(seed));
  for (; done < cases && performance.now() < limit; done += 1) {
    // What a case leaves behind for later, such as promises and timers, would pile up.
    if (done % TURN_CASES === 0) await turn();
    const random = new Random(Math.imul(seed, 0x85ebca6b) + done);
    const valid = target.generate(random);
    const isValid = random.oneIn(4);
    const input = isValid ? valid : mutate(random, valid, other, tokens);
    other = valid;
    try {
      const checking = checkOne(target, input, isValid);
      if (checking !== undefined) await checking;
    } catch (error) {
      const smallest = isValid ? input : await shrink(target, input);
      Error.stackTraceLimit = stackTraceLimit;
      const cause = (await failureOf(target, smallest, isValid)) ?? error;
      throw new FuzzFailure(target.name, `seed ${seed}, case ${done}`, smallest, cause);
    }
  }
  return { cases: done, seconds: (performance.now() - begun) / 1000 };
}

/** One case again. @throws FuzzFailure */
export async function repeat(target: ParserTarget, input: Buffer): Promise<void> {
  try {
    await checkOne(target, input, false);
  } catch (error) {
    throw new FuzzFailure(target.name, 'a case', input, error);
  }
}

function checkOne(target: ParserTarget, input: Buffer, isValid: boolean): void | Promise<void> {
  const context = { random: new Random(seedOf(input)), isValid };
  if (input.length <= LARGE_BYTES) return target.check(input, context);
  const begun = performance.now();
  const measure = (): void | Promise<void> =>
    performance.now() - begun > LARGE_LIMIT_MS ? measureAgain(target, input, isValid) : undefined;
  const checking = target.check(input, context);
  return checking === undefined ? measure() : checking.then(measure);
}

/** What took long by the clock may have waited for other processes. */
async function measureAgain(target: ParserTarget, input: Buffer, isValid: boolean): Promise<void> {
  const before = process.cpuUsage();
  await target.check(input, { random: new Random(seedOf(input)), isValid });
  const { user, system } = process.cpuUsage(before);
  const tookMs = (user + system) / 1000;
  if (tookMs > LARGE_LIMIT_MS) throw new Error(`${input.length} bytes took ${tookMs} ms`);
}

/** Leaves out pieces for as long as it fails. Large ones fail by their size. */
async function shrink(target: ParserTarget, failing: Buffer): Promise<Buffer> {
  if (failing.length > LARGE_BYTES) return failing;
  let smallest = failing;
  let left = SHRINKING_STEPS;
  for (let size = failing.length >> 1; size > 0 && left > 0; size >>= 1) {
    for (let at = 0; at < smallest.length && left > 0; left -= 1) {
      const smaller = Buffer.concat([smallest.subarray(0, at), smallest.subarray(at + size)]);
      if ((await failureOf(target, smaller, false)) !== undefined) smallest = smaller;
      else at += size;
    }
  }
  return smallest;
}

/** What it fails with; undefined: it does not. */
async function failureOf(target: ParserTarget, input: Buffer, isValid: boolean): Promise<unknown> {
  try {
    await checkOne(target, input, isValid);
    return undefined;
  } catch (error) {
    return error ?? new Error(String(error));
  }
}
