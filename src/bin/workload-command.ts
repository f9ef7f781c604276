/** `snapctr workload`: files of requests and their functions, made up or from traces; `snapctr replay` sends them. */
import { createReadStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { InvalidArgumentError, type Command } from 'commander';
import { badInput } from '../client/client-error.ts';
import { vmMemory } from '../client/status-client.ts';
import { DEFAULT_IMAGES_DIRECTORY } from '../images/project.ts';
import { messageOf } from '../protocol/errors.ts';
import { importAzure, TraceError } from '../workload/azure.ts';
import { generate } from '../workload/generate.ts';
import { replay } from '../workload/replay.ts';
import { ReplayReport, type Latencies, type ReplaySummary } from '../workload/replay-report.ts';
import type { Trace } from '../workload/trace.ts';
import { writeWorkload } from '../workload/workload-directory.ts';
import { clientAction, clientOptions, EXIT, table, type ClientFlags, type Session } from './client-command.ts';
import { wholeNumber } from './flags.ts';

interface TraceFlags extends ClientFlags {
  readonly minutes?: number;
  readonly seed: number;
}

interface GenerateFlags extends TraceFlags {
  readonly functions: number;
  readonly rate: number;
  readonly zipf: number;
}

interface ReplayFlags extends ClientFlags {
  readonly speed: number;
  readonly maxInFlight: number;
  readonly report?: string;
  readonly chart?: string;
}

const DEFAULT_MINUTES = 10;
const MINUTE_MS = 60_000;
const SAMPLE_MS = 1000;

const EXAMPLES = `
Examples:
  $ snapctr workload generate day --functions 50 --minutes 10 --rate 5
  $ snapctr workload import azure.csv day --minutes 30
  $ snapctr --config day/controller.yaml --mem 2048 --port 8080
  $ snapctr replay day/requests.json --report report.json --chart report.svg`;

export function registerWorkloadCommands(program: Command): void {
  const workload = program
    .command('workload')
    .description('make requests to measure with, and the functions that they are for')
    .addHelpText('after', EXAMPLES);
  workload
    .command('generate')
    .argument('<directory>', 'where requests.json, functions.yaml, controller.yaml and the code go')
    .description('make requests as people, queues and timers send them')
    .option('--functions <n>', 'how many functions', wholeNumber(1, 100_000), 100)
    .option('--minutes <n>', 'for how long', wholeNumber(1, 100_000), DEFAULT_MINUTES)
    .option('--rate <n>', 'requests a second by people and queues, on average; timers come on top', positive, 5)
    .option('--zipf <s>', 'how uneven: the function of rank r gets 1/r^s of the first one', positive, 1)
    .option('--seed <n>', 'the same requests for the same number', wholeNumber(0, 2 ** 31), 1)
    .option('--json', 'the result as JSON')
    .action(clientAction(runGenerate));
  workload
    .command('import')
    .argument('<file>', 'a trace of Azure Functions of 2019 or 2021, as CSV')
    .argument('<directory>', 'where requests.json, functions.yaml, controller.yaml and the code go')
    .description('make requests of a published trace')
    .option('--minutes <n>', 'only its first minutes', wholeNumber(1, 100_000))
    .option('--seed <n>', 'when within their minute requests come, for a trace of 2019', wholeNumber(0, 2 ** 31), 1)
    .option('--json', 'the result as JSON')
    .action(clientAction(runImport));
  clientOptions(program.command('replay'))
    .argument('<requests>', 'a file of requests with times, one for each line')
    .description('send the requests of a file to a controller at their times, and tell how long they took')
    .option('--speed <factor>', 'times pass faster by this', positive, 1)
    .option('--max-in-flight <n>', 'requests without an answer, at most; more wait', wholeNumber(1, 20_000), 1000)
    .option('--report <file>', 'write the result as JSON there')
    .option('--chart <file>', 'draw latencies, starts and failures over time there, as SVG')
    .addHelpText('after', `${EXAMPLES}\n\nExit status: 1 if a request failed.`)
    .action(clientAction(runReplay));
}

function positive(text: string): number {
  const value = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && value > 0) return value;
  throw new InvalidArgumentError('Expected a number above 0.');
}

async function runGenerate(session: Session, flags: GenerateFlags, directory: string): Promise<void> {
  const { functions, minutes = DEFAULT_MINUTES, rate, zipf, seed } = flags;
  const shape = { functions, durationMs: minutes * MINUTE_MS, requestsPerSecond: rate, zipfExponent: zipf, seed };
  await write(
    session,
    told(() => generate(shape)),
    directory,
    seed,
  );
}

async function runImport(
  session: Session,
  { minutes, seed }: TraceFlags,
  file: string,
  directory: string,
): Promise<void> {
  const text = await readText(file);
  const untilMs = minutes === undefined ? Infinity : minutes * MINUTE_MS;
  await write(
    session,
    told(() => importAzure(text, { untilMs, seed })),
    directory,
    seed,
  );
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    return badInput(`${file} cannot be read: ${messageOf(error)}`, error);
  }
}

function told(make: () => Trace): Trace {
  try {
    return make();
  } catch (error) {
    if (error instanceof TraceError || error instanceof RangeError) badInput(error.message, error);
    throw error;
  }
}

async function write(session: Session, trace: Trace, directory: string, seed: number): Promise<void> {
  if (trace.arrivals.length === 0) badInput('no request would be in it; take more time, or more requests a second');
  try {
    await writeWorkload(trace, { directory, imagesDirectory: DEFAULT_IMAGES_DIRECTORY });
  } catch (error) {
    badInput(`${directory} cannot be written: ${messageOf(error)}`, error);
  }
  const { functions, arrivals } = trace;
  const seconds = Math.ceil((arrivals.at(-1)?.timeMs ?? 0) / 1000);
  session.print({ directory, seed, functions: functions.length, requests: arrivals.length, seconds }, [
    `${arrivals.length} requests to ${functions.length} functions in ${seconds} s (seed ${seed})`,
    `run them: snapctr --config ${join(directory, 'controller.yaml')} --mem 2048 --port 8080`,
    `and then: snapctr replay ${join(directory, 'requests.json')}`,
  ]);
}

async function runReplay(session: Session, flags: ReplayFlags, file: string): Promise<void> {
  const { endpoint, token } = session.connection;
  const input = createReadStream(file);
  const report = new ReplayReport();
  const over = new AbortController();
  const sampling = flags.chart === undefined ? null : sampleMemory(session, report, over.signal);
  try {
    await replay({
      requests: input,
      endpoint,
      token,
      speed: flags.speed,
      maxInFlight: flags.maxInFlight,
      report,
      signal: session.signal,
    });
  } catch (error) {
    if (input.errored === null) throw error;
    badInput(`${file} cannot be read: ${messageOf(error)}`, error);
  } finally {
    over.abort();
  }
  const unsampled = await sampling;
  if (unsampled != null) session.note(`what memory was used for is not in the chart: ${unsampled}`);
  const summary = report.summary();
  if (flags.report !== undefined) await writeFile(flags.report, `${JSON.stringify(summary, null, 2)}\n`);
  if (flags.chart !== undefined) await writeFile(flags.chart, report.picture(`${file} on ${endpoint.origin}`));
  session.print(summary, describe(summary));
  if (summary.bad_lines.count > 0) {
    session.note(
      `${summary.bad_lines.count} lines are no requests with a time in order; the first is line ${summary.bad_lines.first ?? 0}`,
    );
  }
  if (summary.ok < summary.requests || summary.bad_lines.count > 0 || summary.requests === 0)
    process.exitCode = EXIT.failed;
}

/** Tells the report each second what the controller's memory is used for. @returns why it could not; null: it did. */
async function sampleMemory(session: Session, report: ReplayReport, over: AbortSignal): Promise<string | null> {
  const startedAt = performance.now();
  let problem: string | null = null;
  let samples = 0;
  while (!over.aborted) {
    try {
      const { reservedMib, idleMib } = await vmMemory({ ...session.connection, signal: over });
      report.onMemory(performance.now() - startedAt, { usedMib: reservedMib - idleMib, idleMib });
      samples += 1;
    } catch (error) {
      problem = messageOf(error);
    }
    await sleep(SAMPLE_MS, undefined, { signal: over }).catch(() => undefined);
  }
  return samples > 0 ? null : problem;
}

function describe({ requests, ok, failed, seconds, latency_ms, by_start, late_ms }: ReplaySummary): readonly string[] {
  const row = (name: string, { count, p50, p90, p99, p999, max }: Latencies): readonly string[] => [
    name,
    String(count),
    ...[p50, p90, p99, p999, max].map((ms) => ms.toFixed(1)),
  ];
  const starts = Object.entries(by_start).sort(([a], [b]) => (a < b ? -1 : 1));
  return [
    `${requests} requests in ${seconds.toFixed(1)} s, ${ok} answered well`,
    ...Object.entries(failed).map(([code, count]) => `  ${count} ${code}`),
    ...table([
      ['ms', 'COUNT', 'P50', 'P90', 'P99', 'P99.9', 'MAX'],
      row('all', latency_ms),
      ...starts.map(([start, of]) => row(start, of)),
      row('sent late', late_ms),
    ]),
  ];
}
