/** A warm request with what is recorded of it, beside one without: output kept in files and metrics, and traces of one in a hundred. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createWorkspace, startController, type TestFunction, type Workspace } from '../../test/support/snapctr.ts';
import { median, result, summary, type Benchmark } from '../result.ts';
import { Client } from '../support/client.ts';
import { inTurns } from '../support/in-turns.ts';

const ROUNDS = 2000;
const DISCARDED = 1000;
const ECHO: TestFunction = {
  name: 'echo',
  runtime: 'nodejs',
  files: { 'workload.js': 'exports.handle = async (request) => { console.log("called"); return request; };\n' },
};
/** Nothing can be made there: without a data directory nothing is kept of what functions print. */
const NO_DATA = '/proc/no-data';

/** Where the kernel puts the processes of a start makes as much of a difference as what is looked for. */
const STARTS = 5;

/** Times of warm requests in ms: nothing kept, output kept in files, traces as well. */
interface Start {
  readonly bare: readonly number[];
  readonly kept: readonly number[];
  readonly traces: readonly number[];
}

export const observability: Benchmark = {
  name: 'observability',
  async run() {
    const collector = createServer((request, response) => {
      request.resume().on('end', () => response.writeHead(200, { 'content-type': 'application/json' }).end('{}'));
    }).listen(0, '127.0.0.1');
    await once(collector, 'listening');
    const workspace = createWorkspace([ECHO]);
    const traced = {
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(collector.address() as AddressInfo).port}`,
      OTEL_TRACES_SAMPLER: 'traceidratio',
      OTEL_TRACES_SAMPLER_ARG: '0.01',
    };
    const starts: Start[] = [];
    try {
      for (let start = 0; start < STARTS; start += 1) starts.push(await measure(workspace, traced));
    } finally {
      workspace.remove();
      collector.close();
    }
    const ratios = (name: 'kept' | 'traces', beside: 'bare' | 'kept'): number[] =>
      starts.map((start) => median(start[name]) / median(start[beside]));
    const all = (name: keyof Start): string => summary(starts.flatMap((start) => start[name]));
    const bound = { at: 'most', value: 1.05 } as const;
    const [logs, traces] = [ratios('kept', 'bare'), ratios('traces', 'kept')];
    return [
      result(
        'observability-logs',
        median(logs),
        'ratio',
        bound,
        logs,
        `ms: output kept in files ${all('kept')}; not kept ${all('bare')}`,
      ),
      result(
        'observability-traces',
        median(traces),
        'ratio',
        bound,
        traces,
        `ms: traces of 1 % ${all('traces')}; none ${all('kept')}`,
      ),
    ];
  },
};

/** The three side by side, each in processes of its own. */
async function measure(workspace: Workspace, traced: NodeJS.ProcessEnv): Promise<Start> {
  const controllers = [];
  const clients: Client[] = [];
  try {
    for (const env of [{ XDG_DATA_HOME: NO_DATA }, {}, traced]) {
      const controller = await startController(workspace, { vmm: 'process', memoryMib: 128, env });
      controllers.push(controller);
      clients.push(new Client(controller.url));
    }
    const ways = clients.map((client) => async () => (await client.invoke('echo', { name: 'Ada' })).tookMs);
    await inTurns(DISCARDED, ways);
    const [bare = [], kept = [], traces = []] = await inTurns(ROUNDS, ways);
    return { bare, kept, traces };
  } finally {
    for (const client of clients) client.close();
    for (const controller of controllers) await controller.stop();
  }
}
