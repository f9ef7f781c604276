import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { open as openFile, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import fc from 'fast-check';
import { eventClock } from '../../../src/controller/events/event-clock.ts';
import { EventStoreError } from '../../../src/controller/events/event-store.ts';
import { Journal, type JournalOptions } from '../../../src/controller/events/journal.ts';
import { MemoryEventStore } from '../../../src/controller/events/memory-store.ts';
import { eventStoreContract } from './event-store.contract.ts';
import { newEvent, textsOf } from './events.ts';

const root = mkdtempSync(join(tmpdir(), 'snapfaas-journal-'));
let directories = 0;
process.on('exit', () => rmSync(root, { recursive: true, force: true }));

function freshDirectory(): string {
  directories += 1;
  return join(root, String(directories));
}

const noProblem = (message: string): never => assert.fail(message);

function open(directory: string, options: Partial<JournalOptions> = {}): Promise<Journal> {
  return Journal.open(directory, { onProblem: noProblem, ...options });
}

/** So small that each run goes through several files, and copies what is left of old ones. */
for (const segmentBytes of [500, 32 * 1024 * 1024]) {
  eventStoreContract(`journal, files of ${segmentBytes} bytes`, async (limits) => {
    const directory = freshDirectory();
    let store = await open(directory, { limits, segmentBytes });
    const reopen = async (): Promise<Journal> => {
      await store.close();
      return (store = await open(directory, { limits, segmentBytes }));
    };
    return { store, reopen };
  });
}

eventStoreContract('memory', (limits) => Promise.resolve({ store: new MemoryEventStore(limits), reopen: null }));

function filesOf(directory: string): readonly string[] {
  return readdirSync(directory).sort();
}

test('journal: files go when all of their events are done, and what is left of old ones does not keep the others', async () => {
  const directory = freshDirectory();
  const journal = await open(directory, { segmentBytes: 1000 });
  await journal.append(newEvent('stays'));
  for (let index = 0; index < 200; index += 1) {
    await journal.settle(await journal.append(newEvent(`${index}`)), []);
  }
  await journal.append(newEvent('last'));
  assert.deepEqual(await textsOf(journal), ['stays', 'last']);
  await journal.close();
  assert.ok(filesOf(directory).length <= 6, filesOf(directory).join(' '));
  const again = await open(directory);
  assert.deepEqual(await textsOf(again), ['stays', 'last']);
  await again.close();
});

test('journal: cut off at any byte, what was whole is there, and what was cut is said once', async () => {
  const directory = freshDirectory();
  const journal = await open(directory);
  const ends: number[] = [];
  const [file = ''] = filesOf(directory).concat('0000000000000001.events');
  const texts = ['first', 'second', 'third'];
  for (const text of texts) {
    await journal.append(newEvent(text));
    ends.push(statSync(join(directory, file)).size);
  }
  await journal.close();
  const whole = ends.at(-1) ?? 0;
  for (let size = 0; size <= whole; size += 1) {
    const copy = freshDirectory();
    cpSync(directory, copy, { recursive: true });
    truncateSync(join(copy, file), size);
    const problems: string[] = [];
    const cut = await open(copy, { onProblem: (message) => problems.push(message) });
    const expected = texts.filter((_, index) => (ends[index] ?? Infinity) <= size);
    assert.deepEqual(await textsOf(cut), expected, `cut to ${size} bytes`);
    const isWhole = size <= 20 || ends.includes(size);
    assert.equal(problems.length, isWhole ? 0 : 1, `cut to ${size} bytes: ${problems.join()}`);
    await cut.append(newEvent('more'));
    await cut.close();
    const again = await open(copy);
    assert.deepEqual(await textsOf(again), [...expected, 'more']);
    await again.close();
  }
});

test('journal: of whatever bytes are damaged, each event that is whole is there, and the damage is said', async () => {
  const directory = freshDirectory();
  const journal = await open(directory);
  const [file, starts] = ['0000000000000001.events', [20]];
  for (let index = 0; index < 8; index += 1) {
    await journal.append(newEvent(`${index}`.repeat(index * 20)));
    starts.push(statSync(join(directory, file)).size);
  }
  const texts = await textsOf(journal);
  await journal.close();
  const size = starts.at(-1) ?? 0;
  const damage = fc.record({
    at: fc.integer({ min: 20, max: size - 1 }),
    bytes: fc.integer({ min: 1, max: 300 }),
    fill: fc.nat(255),
  });
  await fc.assert(
    fc.asyncProperty(damage, async ({ at, bytes, fill }) => {
      const copy = freshDirectory();
      cpSync(directory, copy, { recursive: true });
      const content = readFileSync(join(copy, file));
      const before = Buffer.from(content);
      content.fill(fill, at, Math.min(at + bytes, size));
      writeFileSync(join(copy, file), content);
      const problems: string[] = [];
      const damaged = await open(copy, { onProblem: (message) => problems.push(message) });
      const expected = texts.filter((_, index) => {
        const [from, to] = [starts[index] ?? 0, starts[index + 1] ?? 0];
        return content.subarray(from, to).equals(before.subarray(from, to));
      });
      assert.deepEqual(await textsOf(damaged), expected);
      assert.equal(problems.length, expected.length === texts.length ? 0 : 1);
      await damaged.close();
    }),
    { numRuns: 100 },
  );
});

test('journal: a payload that looks like records is none', async () => {
  const directory = freshDirectory();
  const journal = await open(directory);
  await journal.append(newEvent('a'));
  const content = readFileSync(join(directory, '0000000000000001.events'));
  await journal.close();
  const other = freshDirectory();
  const second = await open(other);
  await second.append(newEvent('b', { payload: content }));
  await second.close();
  const path = join(other, '0000000000000001.events');
  const damaged = readFileSync(path);
  damaged[30] = (damaged[30] ?? 0) ^ 1;
  writeFileSync(path, damaged);
  const problems: string[] = [];
  const again = await open(other, { onProblem: (message) => problems.push(message) });
  assert.deepEqual([...again.events()], []);
  assert.equal(problems.length, 1);
  await again.close();
});

test('journal: one of another release is refused, and stays as it is', async () => {
  const directory = freshDirectory();
  const journal = await open(directory);
  await journal.append(newEvent('a'));
  await journal.close();
  const path = join(directory, '0000000000000001.events');
  const content = readFileSync(path);
  content.writeUInt32LE(2, 8);
  writeFileSync(path, content);
  await assert.rejects(open(directory), /another release of snapctr \(schema 2, this one knows 1\).*--data-dir/);
  assert.deepEqual(readFileSync(path), content);
});

test('journal: a file whose beginning is damaged is set aside, and the others are read', async () => {
  const directory = freshDirectory();
  const journal = await open(directory, { segmentBytes: 100 });
  for (const text of ['a', 'b', 'c']) await journal.append(newEvent(text));
  await journal.close();
  const path = join(directory, '0000000000000002.events');
  const content = readFileSync(path);
  content[0] = 0;
  writeFileSync(path, content);
  const problems: string[] = [];
  const again = await open(directory, { onProblem: (message) => problems.push(message) });
  assert.deepEqual(await textsOf(again), ['a', 'c']);
  assert.match(problems.join(), /0000000000000002\.events\.damaged/);
  await again.append(newEvent('d'));
  await again.close();
  assert.deepEqual(readFileSync(`${path}.damaged`), content);
});

test('journal: appends that come together are kept by few syncs', async () => {
  const journal = await open(freshDirectory());
  const begun = performance.now();
  await journal.append(newEvent('alone'));
  const one = performance.now() - begun;
  const again = performance.now();
  await Promise.all(Array.from({ length: 500 }, (_, index) => journal.append(newEvent(`${index}`))));
  const all = performance.now() - again;
  assert.ok(all < 100 * Math.max(one, 5), `500 took ${all} ms, one ${one} ms`);
  await journal.close();
});

/** Whether the directory is one with 256 KiB of room. */
function smallDisk(t: TestContext, directory: string): boolean {
  try {
    execFileSync('mkdir', ['-p', directory]);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', directory], { stdio: 'pipe' });
  } catch {
    t.skip('needs root and the right to mount a tmpfs');
    return false;
  }
  t.after(() => execFileSync('umount', [directory]));
  return true;
}

test('journal: on a full disk events are refused, none that was accepted is lost, and it goes on when there is room', async (t) => {
  const directory = freshDirectory();
  if (!smallDisk(t, directory)) return;
  const problems: string[] = [];
  const options = { segmentBytes: 16 * 1024, onProblem: (message: string) => void problems.push(message) };
  let journal = await open(directory, options);
  const kept: string[] = [];
  let refusals = 0;
  for (let index = 0; refusals < 20; index += 1) {
    const text = `${index}-`.padEnd(100 + ((index * 977) % 9000), 'x');
    try {
      await journal.append(newEvent(text));
      kept.push(text);
    } catch (error) {
      assert.ok(error instanceof EventStoreError && error.code === 'unwritable', String(error));
      refusals += 1;
    }
  }
  // To the last byte: not even the word that one is done can be written.
  writeFileSync(
    join(directory, 'ballast'),
    Buffer.alloc(Math.max(0, statfsSync(directory).bfree * statfsSync(directory).bsize)),
  );
  assert.ok(kept.length > 10);
  assert.deepEqual(await textsOf(journal), kept);
  const [first, second] = journal.events();
  assert.ok(first !== undefined && second !== undefined);
  const settled = Promise.all([journal.settle(first, []), journal.settle(second, [newEvent('follows')])]);
  settled.catch(() => undefined);
  rmSync(join(directory, 'ballast'));
  execFileSync('mount', ['-o', 'remount,size=1m', directory]);
  await settled;
  await journal.append(newEvent('again'));
  assert.deepEqual(problems.filter((one) => one.includes('ENOSPC')).length > 0, true);
  await journal.close();
  journal = await open(directory);
  assert.deepEqual(await textsOf(journal), [...kept.slice(2), 'follows', 'again']);
  await journal.close();
});

test('journal: events that come together are synced together', async (t) => {
  const directory = freshDirectory();
  const journal = await open(directory);
  await journal.append(newEvent('first'));
  const handle = await openFile(join(directory, filesOf(directory)[0] ?? ''), 'r');
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();
  const syncs = t.mock.method(prototype, 'datasync');
  await Promise.all(Array.from({ length: 500 }, (_, index) => journal.append(newEvent(`${index}`))));
  const count = syncs.mock.callCount();
  assert.ok(count >= 1 && count <= 10, `${count} syncs for 500 events`);
  await journal.close();
});

test('journal: a clock of the host that was set back does not set back that of events', async (t) => {
  const directory = freshDirectory();
  const journal = await open(directory);
  const acceptedAt = Date.now();
  await journal.append(newEvent('a', { acceptedAt }));
  await journal.close();
  t.mock.method(Date, 'now', () => acceptedAt - 24 * 3_600_000);
  const again = await open(directory);
  assert.ok(eventClock(again.latestMoment).now() >= acceptedAt);
  await again.close();
});
