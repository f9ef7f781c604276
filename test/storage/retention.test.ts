/** What may be removed, and what keeps other processes from it. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { mkdir, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import { GRACE_MS, removable, type Retained } from '../../src/storage/retention.ts';
import { neededNames, Uses } from '../../src/storage/uses.ts';

const made: string[] = [];
const children: ChildProcess[] = [];
after(() => {
  for (const child of children) child.kill('SIGKILL');
  for (const directory of made) rmSync(directory, { recursive: true, force: true });
});

function place(): string {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-retention-'));
  made.push(directory);
  return directory;
}

const NOW = 1_000_000_000;
const things = fc.uniqueArray(
  fc.record({
    name: fc.integer({ min: 0, max: 30 }).map(String),
    bytes: fc.integer({ min: 0, max: 100 }),
    usedAt: fc.oneof(
      fc.integer({ min: NOW - GRACE_MS - 2, max: NOW + 1000 }),
      fc.integer({ min: NOW - 100 * GRACE_MS, max: NOW }),
    ),
  }),
  { selector: ({ name }) => name, maxLength: 20 },
);
const needed = fc.uniqueArray(fc.integer({ min: 0, max: 30 }).map(String)).map((names) => new Set(names));
const limits = fc.record({
  maxBytes: fc.integer({ min: 0, max: 1500 }),
  maxAgeMs: fc.integer({ min: 0, max: 100 * GRACE_MS }),
});
const sum = (all: readonly Retained[]): number => all.reduce((bytes, one) => bytes + one.bytes, 0);

test('nothing that is needed or was just used goes; what else is over a limit goes, the oldest first', () => {
  fc.assert(
    fc.property(things, needed, limits, (all, names, { maxBytes, maxAgeMs }) => {
      const gone = new Set(removable(all, names, { maxBytes, maxAgeMs }, NOW));
      const kept = all.filter((one) => !gone.has(one));
      const idle = (one: Retained): boolean => !names.has(one.name) && NOW - one.usedAt > GRACE_MS;
      for (const one of gone) assert.ok(idle(one));
      const idleKept = kept.filter(idle);
      for (const one of idleKept) assert.ok(NOW - one.usedAt <= maxAgeMs);
      assert.ok(idleKept.length === 0 || sum(kept) <= maxBytes);
      for (const one of gone) {
        if (NOW - one.usedAt > maxAgeMs) continue;
        // For its size: then it was needed, and all that is kept was used no earlier.
        assert.ok(sum(kept) + sum([...gone].filter((other) => other.usedAt >= one.usedAt)) > maxBytes);
        for (const other of idleKept) assert.ok(other.usedAt >= one.usedAt);
      }
    }),
    { numRuns: 2000 },
  );
});

describe('uses', { timeout: 60_000 }, () => {
  test('any holds and releases: others know of those that are held, and of no others', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.boolean(), fc.constantFrom('a', 'b', 'c'))), async (steps) => {
        const directory = place();
        const uses = new Uses(directory);
        const counts = new Map<string, number>();
        for (const [holds, name] of steps) {
          const count = counts.get(name) ?? 0;
          if (holds) uses.hold(name);
          else uses.release(name);
          counts.set(name, Math.max(0, count + (holds ? 1 : -1)));
        }
        await uses.settled();
        const held = [...counts].flatMap(([name, count]) => (count > 0 ? [name] : []));
        assert.deepEqual([...(await neededNames(directory))].sort(), held.sort());
        await uses.close();
        assert.deepEqual(readdirSync(directory), []);
      }),
      { numRuns: 50 },
    );
  });

  test('what is let go of was used at that moment, and so was what is held when its process looks or ends', async () => {
    const directory = place();
    const usedAt = (name: string): number => statSync(join(directory, name)).mtimeMs;
    const uses = new Uses(directory);
    for (const name of ['a', 'b']) {
      await mkdir(join(directory, name));
      uses.hold(name);
    }
    const makeOld = async (): Promise<void> => {
      for (const name of ['a', 'b']) await utimes(join(directory, name), 1, 1);
    };
    await makeOld();
    uses.release('a');
    await uses.settled();
    assert.ok(usedAt('a') > 1000 && usedAt('b') === 1000);
    await makeOld();
    await uses.renew();
    assert.ok(usedAt('a') === 1000 && usedAt('b') > 1000);
    await makeOld();
    await uses.close();
    assert.ok(usedAt('a') === 1000 && usedAt('b') > 1000);
  });

  test('what another process needs counts until that is gone, however it ends', async () => {
    const directory = place();
    const program = `
      import { Uses } from ${JSON.stringify(new URL('../../src/storage/uses.ts', import.meta.url).href)};
      const uses = new Uses(${JSON.stringify(directory)});
      uses.hold('theirs');
      await uses.settled();
      console.log('held');
      setInterval(() => undefined, 1000);`;
    const argv = ['--import', 'tsx', '--input-type=module', '-e', program];
    const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    await once(child.stdout, 'data');
    const ours = new Uses(directory);
    ours.hold('ours');
    await ours.settled();
    assert.deepEqual([...(await neededNames(directory))].sort(), ['ours', 'theirs']);
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    assert.deepEqual([...(await neededNames(directory))], ['ours']);
    assert.equal(readdirSync(directory).length, 1);
    await ours.close();
  });
});
