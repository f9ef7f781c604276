/** A warm request with what is recorded of it, beside one without: output kept in files and metrics, and traces of one in a hundred. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createWorkspace, startController, type TestFunction } from '../../test/support/snapctr.ts';
import { median, result, summary, type Benchmark } from '../result.ts';
import { Client } from '../support/client.ts';
import { inTurns } from '../support/in-turns.ts';

const ROUNDS = 4000;
const DISCARDED = 1000;
const ECHO: TestFunction = {
  name: 'echo',
  runtime: 'nodejs',
  files: { 'workload.js': 'exports.handle = async (request) => { console.log("called"); return request; };\n' },
};
/** Nothing can be made there: without a data directory nothing is kept of what functions print. */
const NO_DATA = '/proc/no-data';

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
      const bound = { at: 'most', value: 1.05 } as const;
      return [
        result(
          'observability-logs',
          median(kept) / median(bare),
          'ratio',
          bound,
          [],
          `ms: output kept in files ${summary(kept)}; not kept ${summary(bare)}`,
        ),
        result(
          'observability-traces',
          median(traces) / median(kept),
          'ratio',
          bound,
          [],
          `ms: traces of 1 % ${summary(traces)}; none ${summary(kept)}`,
        ),
      ];
    } finally {
      for (const client of clients) client.close();
      for (const controller of controllers) await controller.stop();
      workspace.remove();
      collector.close();
    }
  },
};
