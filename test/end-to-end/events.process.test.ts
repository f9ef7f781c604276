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

function workspace(): Workspace {
  const keys = { handler: 'index.handle', concurrency_limit: 2 };
  return createWorkspace([{ name: 'noting', runtime: 'nodejs', files: { 'index.js': NOTING }, keys }]);
}

async function eventsOf({ status }: RunningController): Promise<EventsStatus> {
  return ((await status()) as unknown as { readonly events: EventsStatus }).events;
}

/** @returns the id under which it was accepted; null: it was not, as far as is known. */
async function send(url: string, event: object): Promise<string | null> {
  try {
    const answer = await fetch(`${url}/2015-03-31/functions/noting/invocations`, {
      method: 'POST',
      headers: { 'x-amz-invocation-type': 'Event' },
      body: JSON.stringify(event),
    });
    return answer.status === 202 ? answer.headers.get('x-amzn-requestid') : null;
  } catch {
    return null;
  }
}

test(`killed at any moment, ${ROUNDS} times: each event that was accepted runs, with one id (seed ${SEED})`, async () => {
  const space = workspace();
  const file = join(space.directory, 'ran');
  const args = ['--data-dir', join(space.directory, 'data')];
  const accepted = new Map<number, string>();
  const random = seeded(SEED);
  let next = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const snapctr = await startController(space, { vmm: 'process', args, deployed: random() < 0.5 });
    const killed = sleep(random() * LONGEST_LIFE_MS).then(() => snapctr.kill('SIGKILL'));
    const sent = Array.from({ length: EVENTS_PER_ROUND }, async () => {
      const n = next++;
      const ms = Math.floor(random() * 40);
      await sleep(random() * LONGEST_LIFE_MS);
      const id = await send(snapctr.url, { n, file, ms });
      if (id !== null) accepted.set(n, id);
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
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  const ran = lines.map((line) => JSON.parse(line) as readonly [n: number, id: string]);
  const ids = new Map<number, Set<string>>();
  for (const [n, id] of ran) ids.set(n, (ids.get(n) ?? new Set()).add(id));
  for (const [n, id] of accepted) assert.deepEqual([...(ids.get(n) ?? [])], [id], `event ${n}`);
  // Two run at once, and are not known to be done until that is on disk.
  const twice = ran.length - ids.size;
  assert.ok(twice <= 4 * ROUNDS, `${twice} ran again`);
  console.log(`# ${accepted.size} events accepted in ${ROUNDS} rounds, all ran; ${twice} ran again`);
  space.remove();
});
