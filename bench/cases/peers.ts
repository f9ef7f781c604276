/**
 * SnapFaaS beside what else runs functions on one machine, in one run: the first answer after a start, warm requests, processor time and
 * memory. Prints a table for each workload; the bounds are those of the echo.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import autocannon from 'autocannon';
import { checkAnswer, NotInstalled, type Peer, type Running, type Target } from '../peers/peer.ts';
import { serverPeer } from '../peers/server-peer.ts';
import { FUNCTIONS_FRAMEWORK, LAMBDA_EMULATOR, PLAIN, RUNC, WORKERD } from '../peers/servers.ts';
import { snapfaasPeer } from '../peers/snapfaas-peer.ts';
import { WORKLOADS, type Workload } from '../peers/workloads.ts';
import { median, percentile, result, type Benchmark, type Result } from '../result.ts';
import { Client } from '../support/client.ts';
import { inTurns } from '../support/in-turns.ts';
import { availableMib, treeCpuSeconds } from '../support/processes.ts';
import { sideBySide } from '../support/starts.ts';

const STARTS = 30;
const WARM = 500;
const WARM_DISCARDED = 100;
const LOAD_ROUNDS = 3;
const LOAD_SECONDS = 2;
/** Instances whose memory is measured, beside the one that brings what all share. */
const IDLE = 8;
/** Time after which idle VMs are paused and the host has settled, in ms. */
const SETTLE_MS = 2000;

const OURS = 'SnapFaaS, process driver';

const PEERS: readonly Peer[] = [
  snapfaasPeer(OURS, { vmm: 'process', instances: IDLE + 1 }),
  snapfaasPeer('SnapFaaS, VMs', { vmm: 'qemu', instances: IDLE + 1 }),
  snapfaasPeer('SnapFaaS, VMs ahead', { vmm: 'qemu', instances: IDLE + 2, ahead: true }),
  ...[PLAIN, RUNC, FUNCTIONS_FRAMEWORK, LAMBDA_EMULATOR, WORKERD].map(serverPeer),
];

/** What one peer did with one workload. */
interface Measured {
  readonly startMs: readonly number[];
  readonly warmMs: readonly number[];
  /** A sample for each round. */
  readonly perSecond: readonly number[];
  readonly cpuMicros: readonly number[];
  readonly idleMib: number;
}

export const peers: Benchmark = {
  name: 'peers',
  async run() {
    const results: Result[] = [];
    for (const workload of WORKLOADS) {
      const measured = await measure(workload);
      console.log(tableOf(workload, measured));
      if (workload.name.startsWith('echo-')) results.push(...besides(workload.name, measured));
    }
    return results;
  },
};

async function measure(workload: Workload): Promise<ReadonlyMap<string, Measured>> {
  const open = new Map<string, Running>();
  try {
    await openAll(workload, open);
    const starts = await sideBySide(
      STARTS,
      Object.fromEntries([...open].map(([name, running]) => [name, () => running.start()])),
    );
    const idle = new Map<string, number>();
    for (const [name, running] of open) idle.set(name, await memoryOf(running));
    const targets = [...open].map(([name, running]) => [name, running.target()] as const);
    const warm = await warmTimes(workload, targets);
    const loads = new Map(targets.map(([name]) => [name, { perSecond: [] as number[], cpuMicros: [] as number[] }]));
    for (let round = 0; round < LOAD_ROUNDS; round += 1) {
      for (const [name, target] of targets) {
        const { perSecond, cpuMicros } = await load(target);
        loads.get(name)?.perSecond.push(perSecond);
        loads.get(name)?.cpuMicros.push(cpuMicros);
      }
    }
    return new Map(
      targets.map(([name], index) => [
        name,
        {
          startMs: starts[name] ?? [],
          warmMs: warm[index] ?? [],
          ...(loads.get(name) ?? { perSecond: [], cpuMicros: [] }),
          idleMib: idle.get(name) ?? NaN,
        },
      ]),
    );
  } finally {
    await Promise.all([...open.values()].map((running) => running.close()));
  }
}

async function openAll(workload: Workload, open: Map<string, Running>): Promise<void> {
  for (const peer of PEERS) {
    try {
      const why = peer.whyNot(workload);
      if (why === false) open.set(peer.name, await peer.open(workload));
      else console.log(`${workload.name}: without ${peer.name}: ${why}`);
    } catch (error) {
      if (!(error instanceof NotInstalled)) throw error;
      console.log(`${workload.name}: without ${peer.name}: ${error.message}`);
    }
  }
}

async function memoryOf(running: Running): Promise<number> {
  await running.hold(1);
  await sleep(SETTLE_MS);
  const before = availableMib();
  await running.hold(IDLE + 1);
  await sleep(SETTLE_MS);
  return (before - availableMib()) / IDLE;
}

async function warmTimes(
  workload: Workload,
  targets: readonly (readonly [string, Target])[],
): Promise<readonly (readonly number[])[]> {
  const clients = targets.map(([, { url, body }]) => ({ client: new Client(url), body }));
  const ways = clients.map(({ client, body }) => async () => {
    const { status, text, tookMs } = await client.post(body);
    checkAnswer(workload, status, text);
    return tookMs;
  });
  try {
    await inTurns(WARM_DISCARDED, ways);
    return await inTurns(WARM, ways);
  } finally {
    for (const { client } of clients) client.close();
  }
}

async function load({ url, body, connections, pid }: Target): Promise<{ perSecond: number; cpuMicros: number }> {
  const headers = { 'content-type': 'application/json' };
  const before = treeCpuSeconds(pid);
  const run = await autocannon({ url, method: 'POST', headers, body, connections, duration: LOAD_SECONDS });
  const cpu = treeCpuSeconds(pid) - before;
  if (run.non2xx > 0 || run.errors > 0) throw new Error(`${url}: ${run.non2xx} not 2xx, ${run.errors} errors`);
  return { perSecond: run.requests.total / run.duration, cpuMicros: (cpu / run.requests.total) * 1e6 };
}

/** As Markdown. */
function tableOf(workload: Workload, measured: ReadonlyMap<string, Measured>): string {
  const digits = (value: number): string => (value < 99.5 ? value.toPrecision(2) : value.toFixed(0));
  const both = (samples: readonly number[]): string =>
    `${digits(median(samples))} / ${digits(percentile(samples, 99))}`;
  const head = ['first answer, ms: p50 / p99', 'warm, ms: p50 / p99', 'requests/s', 'CPU, µs', 'idle, MiB'];
  const rows = [...measured].map(([name, { startMs, warmMs, perSecond, cpuMicros, idleMib }]) => [
    ...[name, both(startMs), both(warmMs)],
    ...[median(perSecond).toFixed(0), median(cpuMicros).toFixed(0), digits(idleMib)],
  ]);
  return [[workload.name, ...head], ['---', ...head.map(() => '--:')], ...rows]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');
}

function besides(name: string, measured: ReadonlyMap<string, Measured>): Result[] {
  const ours = measured.get(OURS);
  const framework = measured.get(FUNCTIONS_FRAMEWORK.name);
  const emulator = measured.get(LAMBDA_EMULATOR.name);
  const ratio = (
    what: string,
    key: 'perSecond' | 'cpuMicros',
    other: Measured | undefined,
    bound: Result['bound'],
  ): Result[] => {
    if (ours === undefined || other === undefined) return [];
    const ratios = ours[key].map((value, round) => value / (other[key][round] ?? NaN));
    const note = `${median(ours[key]).toFixed(0)} beside ${median(other[key]).toFixed(0)}`;
    return [result(`${name}-${what}`, median(ratios), 'ratio', bound, ratios, note)];
  };
  return [
    ...ratio('requests-vs-framework', 'perSecond', framework, { at: 'least', value: 3 }),
    ...ratio('cpu-vs-framework', 'cpuMicros', framework, { at: 'most', value: 0.45 }),
    ...ratio('cpu-vs-emulator', 'cpuMicros', emulator, { at: 'most', value: 0.2 }),
  ];
}
