/**
 * `npm run bench [-- --json FILE] [--only NAME]`: measures what docs/SPECIFICATION.md promises, side by side in one run.
 * Exit status 1 if a bound is missed.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { burst } from './cases/burst.ts';
import { containers } from './cases/containers.ts';
import { controllerMemory } from './cases/controller-memory.ts';
import { density } from './cases/density.ts';
import { deploy } from './cases/deploy.ts';
import { events } from './cases/events.ts';
import { fairness } from './cases/fairness.ts';
import { firecracker } from './cases/firecracker.ts';
import { firstStart } from './cases/first-start.ts';
import { idleMemory } from './cases/idle-memory.ts';
import { keepAlive } from './cases/keep-alive.ts';
import { lambda } from './cases/lambda.ts';
import { signatures } from './cases/signatures.ts';
import { languages } from './cases/languages.ts';
import { layers } from './cases/layers.ts';
import { linear } from './cases/linear.ts';
import { observability } from './cases/observability.ts';
import { overload } from './cases/overload.ts';
import { page } from './cases/page.ts';
import { peers } from './cases/peers.ts';
import { poolScaling } from './cases/pool-scaling.ts';
import { pythonImport } from './cases/python-import.ts';
import { runtimeApi } from './cases/runtime-api.ts';
import { starts } from './cases/starts.ts';
import { throughput } from './cases/throughput.ts';
import { urls } from './cases/urls.ts';
import { warmRequest } from './cases/warm-request.ts';
import { formatResult, surroundings, type Benchmark, type Result } from './result.ts';

const BENCHMARKS: readonly Benchmark[] = [
  starts,
  layers,
  lambda,
  urls,
  signatures,
  burst,
  controllerMemory,
  firstStart,
  pythonImport,
  runtimeApi,
  languages,
  density,
  deploy,
  containers,
  warmRequest,
  throughput,
  poolScaling,
  linear,
  fairness,
  keepAlive,
  events,
  observability,
  page,
  peers,
  overload,
  idleMemory,
  firecracker,
];

const { values } = parseArgs({ options: { json: { type: 'string' }, only: { type: 'string' } } });
const chosen = BENCHMARKS.filter(({ name }) => values.only === undefined || name === values.only);
if (chosen.length === 0) {
  console.error(`there is no benchmark ${values.only}; there are: ${BENCHMARKS.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}
// What was started ends with it.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
console.log(surroundings());
const results: Result[] = [];
for (const benchmark of chosen) {
  for (const result of await benchmark.run()) {
    results.push(result);
    console.log(formatResult(result));
  }
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
process.exit(results.some(({ ok }) => ok === false) ? 1 : 0);
