/**
 * Runs in `snapctr workload import`. Traces of Azure Functions as Microsoft publishes them (AzurePublicDataset, CC-BY): of 2019, how
 * often each function was invoked in each minute of a day; of 2021, a line for each invocation.
 */
import { Random } from './random.ts';
import { byTime, MAX_ARRIVALS, type Arrival, type Trace, type TracedFunction, type Trigger } from './trace.ts';

/** What is wrong with a trace, with its line. */
export class TraceError extends Error {
  override readonly name = 'TraceError';
}

export interface ImportOptions {
  /** Only what comes before this, in ms since the first request. */
  readonly untilMs: number;
  /** Within their minute requests come at random; the same times for a seed. */
  readonly seed: number;
}

const HEADER_2021 = 'app,func,end_timestamp,duration';
const HEADER_2019 = /^HashOwner,HashApp,HashFunction,Trigger,1,2,/;
const MINUTE_MS = 60_000;
const MINUTES = 1440;
/** Neither trace tells how much a function takes. */
const MEMORY_MIB = 128;
/** The trace of 2019 tells durations in another file. */
const RUN_MS = 50;
const LONGEST_RUN_MS = 900_000;
const TRIGGERS: Readonly<Record<string, Trigger>> = { http: 'http', queue: 'queue', timer: 'timer' };

/** @param text the whole file. @throws TraceError */
export function importAzure(text: string, options: ImportOptions): Trace {
  const lines = text.split(/\r?\n/);
  const header = lines[0] ?? '';
  if (header === HEADER_2021) return trace2021(lines, options);
  if (HEADER_2019.test(header)) return trace2019(lines, options);
  const shown = header.slice(0, 60);
  throw new TraceError(
    `line 1: "${shown}" begins neither trace of Azure's: "${HEADER_2021}" (2021), or "HashOwner,HashApp,HashFunction,Trigger,1,2,…" (2019)`,
  );
}

/** Gives functions and those who own them short names, in the order in which they come. */
class Names {
  readonly functions = new Map<string, TracedFunction>();
  readonly #owners = new Map<string, number>();

  function(key: string, trigger: Trigger | null): string {
    let fn = this.functions.get(key);
    if (fn === undefined) {
      fn = { name: `f${this.functions.size + 1}`, memoryMib: MEMORY_MIB, trigger };
      this.functions.set(key, fn);
    }
    return fn.name;
  }

  owner(key: string): number {
    const known = this.#owners.get(key) ?? this.#owners.size + 1;
    this.#owners.set(key, known);
    return known;
  }
}

function trace2021(lines: readonly string[], { untilMs }: ImportOptions): Trace {
  const rows: { readonly app: string; readonly key: string; readonly startMs: number; readonly runMs: number }[] = [];
  for (const [i, line] of lines.entries()) {
    if (i === 0 || line === '') continue;
    const [app = '', func = '', end, duration, ...more] = line.split(',');
    const [endS, runS] = [numberOf(end), numberOf(duration)];
    if (app === '' || func === '' || endS === null || runS === null || more.length > 0) {
      throw new TraceError(`line ${i + 1}: expected an app, a function, an end and a duration in seconds`);
    }
    // A function's name is its app's own.
    rows.push({ app, key: `${app} ${func}`, startMs: (endS - runS) * 1000, runMs: runS * 1000 });
    checkCount(rows.length);
  }
  const names = new Names();
  const first = rows.reduce((least, { startMs }) => Math.min(least, startMs), Infinity);
  const arrivals: Arrival[] = [];
  for (const { app, key, startMs, runMs } of rows) {
    const timeMs = Math.round(startMs - first);
    const name = names.function(key, null);
    if (timeMs < untilMs) arrivals.push({ timeMs, function: name, userId: names.owner(app), runMs: wholeRun(runMs) });
  }
  return { functions: [...names.functions.values()], arrivals: arrivals.sort(byTime) };
}

function trace2019(lines: readonly string[], { untilMs, seed }: ImportOptions): Trace {
  const names = new Names();
  const random = new Random(seed);
  const arrivals: Arrival[] = [];
  for (const [i, line] of lines.entries()) {
    if (i === 0 || line === '') continue;
    const [owner = '', app = '', func = '', trigger = '', ...counts] = line.split(',');
    if (owner === '' || app === '' || func === '' || counts.length !== MINUTES) {
      throw new TraceError(`line ${i + 1}: expected an owner, an app, a function, a trigger and ${MINUTES} counts`);
    }
    const name = names.function(`${app} ${func}`, TRIGGERS[trigger] ?? null);
    const userId = names.owner(owner);
    for (const [minute, text] of counts.entries()) {
      const count = /^\d+$/.test(text) ? Number(text) : null;
      if (count === null) throw new TraceError(`line ${i + 1}: "${text.slice(0, 20)}" is no count of invocations`);
      if (minute * MINUTE_MS >= untilMs) break;
      checkCount(arrivals.length + count);
      for (let n = 0; n < count; n += 1) {
        const timeMs = Math.floor((minute + random.uniform()) * MINUTE_MS);
        if (timeMs < untilMs) arrivals.push({ timeMs, function: name, userId, runMs: RUN_MS });
      }
    }
  }
  return { functions: [...names.functions.values()], arrivals: arrivals.sort(byTime) };
}

function numberOf(text: string | undefined): number | null {
  const value = text === undefined || !/^-?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(text) ? NaN : Number(text);
  return Number.isFinite(value) ? value : null;
}

function wholeRun(runMs: number): number {
  return Math.min(LONGEST_RUN_MS, Math.max(1, Math.round(runMs)));
}

function checkCount(count: number): void {
  if (count > MAX_ARRIVALS)
    throw new TraceError(`it has more than ${MAX_ARRIVALS} requests; take a part of it by --minutes`);
}
