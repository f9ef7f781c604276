/** Functions that get events by themselves, as users have them: each due time becomes one event, whatever is killed. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { EventsClient } from '../../src/client/events-client.ts';
import { scheduledEventId } from '../../src/controller/schedules/scheduled-event.ts';
import { seeded } from '../../src/workload/random.ts';
import { createWorkspace, startController, type RunningController, type Workspace } from '../support/snapctr.ts';

const ROUNDS = Number(process.env['SNAPFAAS_CRASH_ROUNDS'] ?? 3);
const SEED = Number(process.env['SNAPFAAS_CRASH_SEED'] ?? Math.floor(Math.random() * 1e9));
/** From the start of a snapctr to its end, in ms at most. */
const LONGEST_LIFE_MS = 2500;
const SCHEDULES = 60;
const PATIENCE_MS = 60_000;
/** A snapctr has started and ended by then. */
const KNOWN_WITHIN_MS = 15_000;

/** Writes down what it got. */
const NOTING = `
const { appendFileSync } = require('node:fs');
exports.handle = async (event, context) => {
  appendFileSync(process.env.NOTES, JSON.stringify([event, context.awsRequestId]) + '\\n');
};
`;
/** Its events stay where they are. */
const HANGING = `exports.handle = () => new Promise(() => setInterval(() => undefined, 1000));`;

interface Noted {
  readonly event: Readonly<Record<string, unknown>>;
  readonly requestId: string;
}

function notes(file: string): readonly Noted[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  return lines.map((line) => {
    const [event, requestId] = JSON.parse(line) as [Noted['event'], string];
    return { event, requestId };
  });
}

/** Each function's list of schedules is a file's worth of YAML that is filled in when the times are known. */
function workspace(): {
  readonly space: Workspace;
  readonly file: string;
  schedule(lists: Record<string, string>): void;
} {
  const files = (code: string): Record<string, string> => ({ 'index.js': code });
  const space = createWorkspace([
    {
      name: 'noting',
      runtime: 'nodejs',
      files: files(NOTING),
      keys: { handler: 'index.handle', schedules: '@noting' },
    },
    {
      name: 'hanging',
      runtime: 'nodejs',
      files: files(HANGING),
      keys: { handler: 'index.handle', timeout: 900, concurrency_limit: 1, schedules: '@hanging' },
    },
  ]);
  const file = join(space.directory, 'notes');
  const path = join(space.directory, 'functions.yaml');
  const template = readFileSync(path, 'utf8').replace('  handler:', `  environment: {NOTES: ${file}}\n  handler:`);
  return {
    space,
    file,
    schedule: (lists) =>
      writeFileSync(
        path,
        template.replaceAll(/@(\w+)/g, (_all, name: string) => lists[name] ?? '[]'),
      ),
  };
}

async function until(what: string, isSo: () => boolean | Promise<boolean>, snapctr: RunningController): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await isSo())) {
    assert.ok(Date.now() < deadline, `${what} has not come:\n${snapctr.log.join('\n')}`);
    await sleep(50);
  }
}

test(
  `killed at any moment, ${ROUNDS} times: each due time becomes one event (seed ${SEED})`,
  { timeout: 300_000 },
  async (t) => {
    const { space, file, schedule } = workspace();
    const args = ['--data-dir', join(space.directory, 'data')];
    const random = seeded(SEED);
    // Known before they are due: a schedule that nobody has seen yet misses nothing.
    const first = Date.now() + KNOWN_WITHIN_MS;
    const dues = Array.from({ length: SCHEDULES }, () => first + Math.floor(random() * ROUNDS * LONGEST_LIFE_MS));
    const list = dues.map((due, index) => {
      const at = new Date(due).toISOString();
      return `{name: s${index}, expression: rate(1 minute), start: '${at}', end: '${at}'}`;
    });
    const all = `[${list.join(', ')}]`;
    schedule({ noting: all, hanging: all });
    const known = await startController(space, { vmm: 'process', args });
    await known.stop();
    assert.ok(Date.now() < first, 'this host is too slow for the test');
    await sleep(Math.max(0, first - Date.now() - LONGEST_LIFE_MS));
    for (let round = 0; round < ROUNDS; round += 1) {
      const snapctr = await startController(space, { vmm: 'process', args, deployed: random() < 0.5 });
      await sleep(random() * LONGEST_LIFE_MS);
      snapctr.kill('SIGKILL');
      await snapctr.exited;
    }
    const snapctr = await startController(space, { vmm: 'process', args });
    t.after(() => snapctr.kill('SIGKILL'));
    const last = Math.max(...dues);
    const events = new EventsClient({
      endpoint: new URL(snapctr.url),
      token: null,
      signal: new AbortController().signal,
    });
    const held = async (): Promise<readonly string[]> => {
      const ids: string[] = [];
      for await (const { event } of events.list({ functionName: 'hanging' }))
        ids.push((await events.get(event)).requestId);
      return ids.sort();
    };
    await until('the last due time', async () => Date.now() > last && (await held()).length >= SCHEDULES, snapctr);
    await until('each event', () => new Set(notes(file).map(({ requestId }) => requestId)).size >= SCHEDULES, snapctr);
    const idsOf = (name: string): readonly string[] =>
      dues.map((due, index) => scheduledEventId(`${name}/s${index}`, due)).sort();
    assert.deepEqual(await held(), idsOf('hanging'));
    const ran = notes(file);
    assert.deepEqual([...new Set(ran.map(({ requestId }) => requestId))].sort(), idsOf('noting'));
    for (const { event, requestId } of ran) assert.equal(event['id'], requestId);
    // Those that ran when snapctr was killed, and were not known to be done.
    assert.ok(ran.length - SCHEDULES <= 8 * ROUNDS, `${ran.length - SCHEDULES} ran again`);
    console.log(
      `# ${2 * SCHEDULES} due times in ${ROUNDS} rounds: one event each; ${ran.length - SCHEDULES} ran again`,
    );
    snapctr.kill('SIGKILL');
    await snapctr.exited;
    space.remove();
  },
);
