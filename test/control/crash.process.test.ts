import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { newest, packagesOf } from '../../src/registry/records.ts';
import { seeded } from '../../src/workload/random.ts';
import { createWorkspace, environment, PROJECT_ROOT, type Workspace } from '../support/snapctr.ts';
import type { CrashLine, Essence } from './crashing.ts';
import { openStand, packageOf, type Stand } from './stand.ts';

const ROUNDS = Number(process.env['SNAPFAAS_CRASH_ROUNDS'] ?? 4);
const SEED = Number(process.env['SNAPFAAS_CRASH_SEED'] ?? Math.floor(Math.random() * 1e9));
/** From its first change to its end, in ms at most. */
const LONGEST_LIFE_MS = 1500;

interface Outcome {
  /** By name: what was acknowledged last. */
  readonly acknowledged: Record<string, Essence>;
  /** What was under way. */
  readonly begun: CrashLine | null;
}

/** Runs one until it is killed, at a moment that the seed tells. */
async function crash(
  workspace: Workspace,
  data: string,
  seed: number,
  states: Outcome['acknowledged'],
): Promise<Outcome> {
  const acknowledged = { ...states };
  const program = join(PROJECT_ROOT, 'test/control/crashing.ts');
  const argv = ['--import', 'tsx', program, workspace.config, data, String(seed), JSON.stringify(states)];
  const stdio: ['ignore', 'pipe', 'pipe'] = ['ignore', 'pipe', 'pipe'];
  const child = spawn(process.execPath, argv, { cwd: PROJECT_ROOT, env: environment(workspace), stdio });
  let [begun, isKilled, stderr]: [CrashLine | null, boolean, string] = [null, false, ''];
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const ended = once(child, 'exit');
  for await (const text of createInterface({ input: child.stdout })) {
    const line = JSON.parse(text) as CrashLine;
    begun = line.step === 'begin' ? line : null;
    if (line.step === 'done') acknowledged[line.name] = line.after;
    if (isKilled) continue;
    isKilled = true;
    void sleep(seeded(seed)() * LONGEST_LIFE_MS).then(() => child.kill('SIGKILL'));
  }
  const [status, signal] = (await ended) as [number | null, string | null];
  assert.equal(signal, 'SIGKILL', `it ended by itself with status ${status}: ${stderr}`);
  return { acknowledged, begun };
}

function essenceOf(stand: Stand, name: string, texts: ReadonlyMap<string, string>): Essence {
  const record = stand.control.functions.find(name);
  if (record === undefined) return null;
  const text = texts.get(newest(record).code.sha256) ?? 'the code of nobody';
  return { text, tag: record.tags['tag'] ?? '', lastNumber: record.lastNumber };
}

test(`killed at any moment, ${ROUNDS} times: what was acknowledged is there, it answers, and nothing is left over (seed ${SEED})`, async () => {
  const workspace = createWorkspace([]);
  const data = join(workspace.directory, 'data');
  let states: Record<string, Essence> = {};
  for (let round = 0; round < ROUNDS; round += 1) {
    const { acknowledged, begun } = await crash(workspace, data, SEED + round, states);
    const stand = await openStand(workspace, data);
    try {
      const possible = [acknowledged, ...(begun === null ? [] : [{ ...acknowledged, [begun.name]: begun.after }])];
      const texts = new Map(
        possible
          .flatMap((one) => Object.values(one))
          .flatMap((one) => (one === null ? [] : [one.text]))
          .map((text) => [createHash('sha256').update(packageOf(text)).digest('hex'), text]),
      );
      const needed = new Set<string>();
      for (const name of Object.keys({ ...acknowledged, ...possible[1] })) {
        const found = essenceOf(stand, name, texts);
        const options = possible.map((one) => JSON.stringify(one[name] ?? null));
        assert.ok(
          options.includes(JSON.stringify(found)),
          `round ${round}, ${name}: ${JSON.stringify(found)} of ${options.join(' or ')}`,
        );
        acknowledged[name] = found;
        if (found === null) continue;
        const { lastUpdateStatus, lastUpdateReason } = await stand.settled(name);
        assert.equal(lastUpdateStatus, 'Successful', lastUpdateReason?.message);
        assert.deepEqual(await stand.invoke(name, round), [found.text, '$LATEST', '$LATEST', round]);
        const record = stand.control.functions.find(name);
        for (const sha256 of record === undefined ? [] : packagesOf(record)) needed.add(`${sha256}.zip`);
      }
      assert.deepEqual(readdirSync(join(data, 'packages')).sort(), [...needed].sort());
      const records = Object.entries(acknowledged).flatMap(([name, one]) => (one === null ? [] : [`${name}.json`]));
      assert.deepEqual(readdirSync(join(data, 'functions')).sort(), records.sort());
      assert.deepEqual(
        readdirSync(data).filter((name) => name.startsWith('lock.')),
        [],
      );
    } finally {
      await stand.close();
    }
    states = acknowledged;
  }
  workspace.remove();
});
