/** Requests per second through the process driver, beside a bare node:http server that echoes JSON. */
import autocannon from 'autocannon';
import { createWorkspace, startController, type TestFunction } from '../../test/support/snapctr.ts';
import { startBare } from '../bare-server.ts';
import { median, result, summary, type Benchmark, type Result } from '../result.ts';

const ROUNDS = 5;
const SECONDS = 3;
const CONNECTIONS = 8;

const ECHOS: readonly TestFunction[] = [
  { name: 'python', runtime: 'python3', files: { 'workload.py': 'def handle(request):\n    return request\n' } },
  { name: 'node', runtime: 'nodejs', files: { 'workload.js': 'exports.handle = async (request) => request;\n' } },
];

async function requestsPerSecond(url: string, body: string): Promise<number> {
  const headers = { 'content-type': 'application/json' };
  const run = await autocannon({ url, method: 'POST', headers, body, connections: CONNECTIONS, duration: SECONDS });
  if (run.non2xx > 0 || run.errors > 0) throw new Error(`${run.non2xx} answers other than 2xx, ${run.errors} errors`);
  return run.requests.total / run.duration;
}

export const throughput: Benchmark = {
  name: 'throughput',
  async run() {
    const workspace = createWorkspace(ECHOS);
    const controller = await startController(workspace, { vmm: 'process', args: ['--log-level', 'error'] });
    const bare = await startBare();
    const results: Result[] = [];
    try {
      for (const { name } of ECHOS) {
        const body = JSON.stringify({ function: name, payload: { n: 1, text: 'hello' } });
        const samples = { bare: [] as number[], ours: [] as number[] };
        await requestsPerSecond(controller.url, body);
        await requestsPerSecond(bare.url, body);
        for (let i = 0; i < ROUNDS; i += 1) {
          samples.bare.push(await requestsPerSecond(bare.url, body));
          samples.ours.push(await requestsPerSecond(controller.url, body));
        }
        const ratios = samples.ours.map((value, i) => value / (samples.bare[i] ?? Number.NaN));
        const note = `requests/s: ${name} echo ${summary(samples.ours)}; bare node:http ${summary(samples.bare)}`;
        results.push(result(`throughput-${name}`, median(ratios), 'ratio', { at: 'least', value: 0.4 }, ratios, note));
      }
    } finally {
      await bare.stop();
      await controller.stop();
      workspace.remove();
    }
    return results;
  },
};
