/** `snapctr simulate`: a workload on a host in virtual time, under one or several orders of eviction. */
import { createWriteStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { finished } from 'node:stream/promises';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { badInput } from '../client/client-error.ts';
import { EVICTION_ORDERS, type EvictionOrderName } from '../controller/pool/eviction-orders.ts';
import { messageOf } from '../protocol/errors.ts';
import { SMALLEST_VM_MIB } from '../protocol/vmms.ts';
import { readWorkload, WorkloadError } from '../workload/read-workload.ts';
import { quantileOf, simulate, type Simulation } from '../workload/simulation/simulate.ts';
import { utilisationPicture } from '../workload/simulation/utilisation-picture.ts';
import { clientAction, table, type ClientFlags, type Session } from './client-command.ts';
import { wholeNumber } from './flags.ts';

interface SimulateFlags extends ClientFlags {
  readonly mem: number;
  readonly cores: number;
  readonly standby: number;
  readonly startMs: number;
  readonly runMs: number;
  readonly keepAlive: readonly EvictionOrderName[];
  readonly report?: string;
  readonly chart?: string;
  readonly vms?: string;
}

const EXAMPLES = `
Examples:
  $ snapctr workload generate day --functions 1000 --minutes 1440 --rate 3
  $ snapctr simulate day --mem 16384
  $ snapctr simulate day --mem 16384 --standby 4096 --keep-alive demand --chart day.svg --vms vms.jsonl`;

export function registerSimulateCommand(program: Command): void {
  program
    .command('simulate')
    .argument('<directory>', 'what "snapctr workload" made: requests.json and functions.yaml')
    .description('run requests on a host in virtual time: what would wait, and what memory would be used for')
    .addOption(memory('--mem <mb>', 'memory for all VMs, in MB').makeOptionMandatory())
    .addOption(memory('--standby <mb>', 'of it, for VMs that are launched ahead, in MB', 0).default(0))
    .option('--cores <n>', 'cores of the host', wholeNumber(1, 4096), availableParallelism())
    .option('--start-ms <n>', 'what the start of a VM takes of a core, in ms', wholeNumber(0, 600_000), 150)
    .option('--run-ms <n>', 'what a request takes whose payload has no run_ms', wholeNumber(0, 3_600_000), 0)
    .option('--keep-alive <orders>', `orders of eviction to compare: ${EVICTION_ORDERS.join(', ')}`, ordersOf, [
      ...EVICTION_ORDERS,
    ])
    .option('--report <file>', 'write the results as JSON there')
    .option('--chart <file>', 'draw what memory is used for over time there, as SVG; of the first order')
    .option('--vms <file>', 'write a JSON line for each VM there: its launch, uses and end; of the first order')
    .option('--json', 'the results as JSON')
    .addHelpText('after', EXAMPLES)
    .action(clientAction(runSimulate));
}

function memory(flags: string, description: string, least = SMALLEST_VM_MIB): Option {
  return new Option(flags, description).argParser(wholeNumber(least, 64 * 1024 * 1024));
}

function ordersOf(text: string): readonly EvictionOrderName[] {
  return text.split(',').map((name) => {
    const order = EVICTION_ORDERS.find((one) => one === name.trim());
    if (order === undefined) throw new InvalidArgumentError(`Expected some of ${EVICTION_ORDERS.join(', ')}.`);
    return order;
  });
}

interface SimulationSummary extends Omit<Simulation, 'waits' | 'slices'> {
  readonly wait_ms: { readonly p50: number; readonly p90: number; readonly p99: number; readonly max: number };
}

async function runSimulate(session: Session, flags: SimulateFlags, directory: string): Promise<void> {
  const { mem, cores, standby, startMs, runMs, keepAlive } = flags;
  if (standby > mem) badInput(`--standby ${standby}: it is a part of --mem ${mem}; give less`);
  const trace = await readWorkload(directory, runMs).catch((error: unknown) => {
    if (error instanceof WorkloadError) return badInput(error.message, error);
    throw error;
  });
  const largest = Math.max(0, ...trace.functions.map(({ memoryMib }) => memoryMib));
  if (largest > mem) badInput(`--mem ${mem}: the largest function has ${largest} MB; give as much at least`);
  const summaries: SimulationSummary[] = [];
  for (const [at, order] of keepAlive.entries()) {
    const vms = at === 0 && flags.vms !== undefined ? openLines(flags.vms) : null;
    const simulation = await simulate(trace, {
      ...{ cores, memoryMib: mem, standbyMib: standby, startMs, order, signal: session.signal },
      ...(vms === null ? {} : { onVm: vms.write }),
    });
    await vms?.close();
    if (at === 0 && flags.chart !== undefined) {
      await writeFile(flags.chart, utilisationPicture(`${directory}, ${mem} MB, ${order}`, simulation.slices));
    }
    summaries.push(summaryOf(simulation));
  }
  if (flags.report !== undefined) await writeFile(flags.report, `${JSON.stringify(summaries, null, 2)}\n`);
  session.print(summaries, describe(summaries));
}

interface Lines {
  readonly write: (value: unknown) => void;
  /** @throws ClientError if they cannot be written. */
  readonly close: () => Promise<void>;
}

function openLines(file: string): Lines {
  const stream = createWriteStream(file);
  const written = finished(stream).catch((error: unknown) =>
    badInput(`${file} cannot be written: ${messageOf(error)}`, error),
  );
  // Told by `close`.
  written.catch(() => undefined);
  return {
    write: (value) => void stream.write(`${JSON.stringify(value)}\n`),
    close: () => {
      stream.end();
      return written;
    },
  };
}

function summaryOf({ order, requests, refused, waiting, waits, launches, evictions }: Simulation): SimulationSummary {
  const [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1].map((p) => quantileOf(waits, p)) as [number, number, number, number];
  return { order, requests, refused, waiting, wait_ms: { p50, p90, p99, max }, launches, evictions };
}

function describe(summaries: readonly SimulationSummary[]): readonly string[] {
  const ms = (value: number): string => (Number.isFinite(value) ? value.toFixed(1) : 'refused');
  return table([
    ['KEEP-ALIVE', 'REQUESTS', 'REFUSED', 'WAITED', 'P50 MS', 'P90 MS', 'P99 MS', 'MAX MS', 'LAUNCHES', 'EVICTIONS'],
    ...summaries.map(({ order, requests, refused, waiting, wait_ms, launches, evictions }) => [
      ...[order, String(requests), String(refused), `${(waiting * 100).toFixed(1)} %`],
      ...[ms(wait_ms.p50), ms(wait_ms.p90), ms(wait_ms.p99), ms(wait_ms.max)],
      ...[String(launches), String(evictions)],
    ]),
  ]);
}
