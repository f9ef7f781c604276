/** Events that nobody waits for, as users send them: what was accepted runs, whatever is killed. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EventsStatus } from '../../src/controller/events/dispatcher.ts';
import { seeded } from '../../src/workload/random.ts';
import { createWorkspace, startController, type RunningController, type Workspace } from '../support/snapctr.ts';

const ROUNDS = Number(process.env['SNAPFAAS_CRASH_ROUNDS'] ?? 3);
const SEED = Number(process.env['SNAPFAAS_CRASH_SEED'] ?? Math.floor(Math.random() * 1e9));
/** From the first event of a snapctr to its end, in ms at most. */
const LONGEST_LIFE_MS = 600;
const EVENTS_PER_ROUND = 40;

/** Writes down that it ran: a line with the event, and its request. */
const NOTING = `
const { appendFileSync } = require('node:fs');
exports.handle = async ({ n, file, ms }, context) => {
  await new Promise((resolve) => setTimeout(resolve, ms));
  appendFileSync(file, JSON.stringify([n, context.awsRequestId]) + '\\n');
};
`;

/** The line is written by its destination. */
const FAILING = `
exports.handle = async ({ n, ms }) => {
  await new Promise((resolve) => setTimeout(resolve, ms));
  throw new Error(String(n));
};
`;
const FUNCTIONS = ['noting', 'failing'] as const;

function workspace(): Workspace {
  const keys = { handler: 'index.handle', concurrency_limit: 2 };
  return createWorkspace([
    { name: 'noting', runtime: 'nodejs', files: { 'index.js': NOTING }, keys },
    {
      ...{ name: 'failing', runtime: 'nodejs', files: { 'index.js': FAILING } },
      keys: { ...keys, events: '{retries: 0, on_failure: "file:failed.jsonl"}' },
    },
  ]);
}

async function eventsOf({ status }: RunningController): Promise<EventsStatus> {
  return ((await status()) as unknown as { readonly events: EventsStatus }).events;
}

/** @returns the id under which it was accepted; null: it was not, as far as is known. */
async function send(url: string, name: string, event: object): Promise<string | null> {
  try {
    const answer = await fetch(`${url}/2015-03-31/functions/${name}/invocations`, {
      method: 'POST',
      headers: { 'x-amz-invocation-type': 'Event' },
      body: JSON.stringify(event),
    });
    return answer.status === 202 ? answer.headers.get('x-amzn-requestid') : null;
  } catch {
    return null;
  }
}

/** As destinations are told. */
interface InvocationRecord {
  readonly requestContext: { readonly requestId: string; readonly condition: string };
  readonly requestPayload: { readonly n: number };
  readonly responsePayload: { readonly errorMessage: string };
}

/** Events that did what they were to do, each with the ids that it had then. */
function effects(done: readonly (readonly [n: number, id: string])[]): ReadonlyMap<number, ReadonlySet<string>> {
  const ids = new Map<number, Set<string>>();
  for (const [n, id] of done) ids.set(n, (ids.get(n) ?? new Set()).add(id));
  return ids;
}

function linesOf(path: string): readonly unknown[] {
  return readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);
}

test(`killed at any moment, ${ROUNDS} times: each event that was accepted runs or its failure is told, with one id (seed ${SEED})`, async () => {
  const space = workspace();
  const file = join(space.directory, 'ran');
  const data = join(space.directory, 'data');
  const args = ['--data-dir', data];
  const accepted = { noting: new Map<number, string>(), failing: new Map<number, string>() };
  const random = seeded(SEED);
  let next = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const snapctr = await startController(space, { vmm: 'process', args, deployed: random() < 0.5 });
    const killed = sleep(random() * LONGEST_LIFE_MS).then(() => snapctr.kill('SIGKILL'));
    const sent = Array.from({ length: EVENTS_PER_ROUND }, async () => {
      const n = next++;
      const ms = Math.floor(random() * 40);
      await sleep(random() * LONGEST_LIFE_MS);
      const name = FUNCTIONS[n % 2] ?? 'noting';
      const id = await send(snapctr.url, name, { n, file, ms });
      if (id !== null) accepted[name].set(n, id);
    });
    await Promise.all([killed, snapctr.exited, ...sent]);
  }
  const snapctr = await startController(space, { vmm: 'process', args });
  const deadline = Date.now() + 120_000;
  for (let left = await eventsOf(snapctr); left.pending > 0; left = await eventsOf(snapctr)) {
    assert.ok(Date.now() < deadline, `${left.pending} events are left; the oldest has waited for ${left.oldest_ms} ms`);
    await sleep(50);
  }
  assert.equal((await eventsOf(snapctr)).dead, 0, snapctr.log.join('\n'));
  await snapctr.stop();
  const ran = linesOf(file) as readonly (readonly [n: number, id: string])[];
  const told = linesOf(join(data, 'destinations', 'failed.jsonl')).map((record) => {
    const { requestContext, requestPayload, responsePayload } = record as InvocationRecord;
    assert.equal(requestContext.condition, 'RetriesExhausted');
    assert.equal(responsePayload.errorMessage, String(requestPayload.n));
    return [requestPayload.n, requestContext.requestId] as const;
  });
  for (const [what, done, ids] of [
    ['ran', ran, accepted.noting],
    ['were told of', told, accepted.failing],
  ] as const) {
    const once = effects(done);
    for (const [n, id] of ids) assert.deepEqual([...(once.get(n) ?? [])], [id], `event ${n}`);
    // Two run at once, and are not known to be done until that is on disk.
    const twice = done.length - once.size;
    assert.ok(twice <= 4 * ROUNDS, `${twice} ${what} again`);
    console.log(`# ${ids.size} events accepted in ${ROUNDS} rounds, all ${what}; ${twice} again`);
  }
  space.remove();
});
