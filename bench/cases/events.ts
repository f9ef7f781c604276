/** Events that nobody waits for: how many are kept durably, what that costs other functions, and how soon a restart has them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Journal } from '../../src/controller/events/journal.ts';
import { createWorkspace, startController } from '../../test/support/snapctr.ts';
import { percentile, result, summary, type Benchmark, type Result } from '../result.ts';
import { ApiClient } from '../support/lambda-client.ts';

const SENDERS = 64;
const EVENTS = Number(process.env['SNAPFAAS_BENCH_EVENTS'] ?? 20_000);
const PENDING = Number(process.env['SNAPFAAS_BENCH_PENDING'] ?? 100_000);
const QUIET_REQUESTS = 1000;
const EVENT = JSON.stringify({ name: 'Ada', text: 'x'.repeat(200) });
const SLOW = 'exports.handle = () => new Promise((resolve) => setTimeout(resolve, 1000));';
const WARM = 'exports.handle = async (event) => event.name;';
const MIB = 1024 * 1024;

export const events: Benchmark = {
  name: 'events',
  run: async () => [...(await accepting()), ...(await recovering())],
};

/** Events of one function come as fast as they are taken, and another one is called meanwhile, in turn with none of that. */
async function accepting(): Promise<readonly Result[]> {
  const keys = { handler: 'index.handle' };
  const workspace = createWorkspace([
    { name: 'slow', runtime: 'nodejs', files: { 'index.js': SLOW }, keys: { ...keys, concurrency_limit: 1 } },
    { name: 'warm', runtime: 'nodejs', files: { 'index.js': WARM }, keys },
  ]);
  const args = ['--data-dir', join(workspace.directory, 'data')];
  const controller = await startController(workspace, { vmm: 'qemu', memoryMib: 512, snapshots: true, args });
  const warm = new ApiClient(controller.url);
  const senders = Array.from(
    { length: SENDERS },
    () => new ApiClient(controller.url, () => ({ 'x-amz-invocation-type': 'Event' })),
  );
  try {
    const call = async (): Promise<number> => (await warm.invoke('warm', EVENT)).tookMs;
    for (let index = 0; index < QUIET_REQUESTS / 2; index += 1) await call();
    const quiet: number[] = [];
    for (let index = 0; index < QUIET_REQUESTS; index += 1) quiet.push(await call());
    const answers: number[] = [];
    const busy: number[] = [];
    let left = EVENTS;
    const over = new AbortController();
    const begun = performance.now();
    const sending = Promise.all(
      senders.map(async (sender) => {
        while (left-- > 0) answers.push((await sender.invoke('slow', EVENT)).tookMs);
      }),
    ).finally(() => over.abort());
    while (!over.signal.aborted) busy.push(await call());
    await sending;
    const rate = answers.length / ((performance.now() - begun) / 1000);
    const note = `202 in ms: ${summary(answers)}`;
    return [
      result('events accepted', rate, 'events/s', { at: 'least', value: 2000 }, [], note),
      result('answer of an event, p99', percentile(answers, 99), 'ms', { at: 'most', value: 50 }, [], note),
      result(
        'warm requests beside events, p99',
        percentile(busy, 99) / percentile(quiet, 99),
        'ratio',
        { at: 'most', value: 3 },
        [],
        `ms: quiet ${summary(quiet)}; beside events ${summary(busy)}`,
      ),
    ];
  } finally {
    for (const client of [warm, ...senders]) client.close();
    controller.kill('SIGKILL');
    await controller.exited;
    workspace.remove();
  }
}

async function recovering(): Promise<readonly Result[]> {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-bench-events-'));
  const onProblem = (message: string): never => {
    throw new Error(message);
  };
  try {
    const journal = await Journal.open(directory, { onProblem });
    const payload = Buffer.from(EVENT);
    for (let done = 0; done < PENDING; done += 1000) {
      const batch = Array.from({ length: Math.min(1000, PENDING - done) }, (_, index) =>
        journal.append({
          id: `00000000-0000-4000-8000-${String(done + index).padStart(12, '0')}`,
          target: `function:f${index % 10}`,
          payload,
          acceptedAt: Date.now(),
          header: {},
          hops: 0,
        }),
      );
      await Promise.all(batch);
    }
    await journal.close();
    globalThis.gc?.();
    const before = process.memoryUsage().rss;
    const begun = performance.now();
    const again = await Journal.open(directory, { onProblem });
    const tookS = (performance.now() - begun) / 1000;
    const memoryMib = Math.max(0, process.memoryUsage().rss - before) / MIB;
    const { size } = again;
    await again.close();
    if (size !== PENDING) throw new Error(`${size} events of ${PENDING} came back`);
    const note = `${PENDING} events of ${EVENT.length} bytes`;
    return [
      result('pending events after a restart', tookS, 's', { at: 'most', value: 2 }, [], note),
      result('memory of pending events', memoryMib, 'MB', { at: 'most', value: 64 }, [], note),
    ];
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
