/** Files of functions' logs: read from any place on, bounded in all, and never waited for. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync, appendFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { FunctionLogs, type FunctionLogsOptions } from '../../src/logs/function-logs.ts';
import type { LogPosition, LogQuery } from '../../src/logs/log-reader.ts';

const EVERYTHING: LogQuery = { fromMs: 0, toMs: Infinity, after: null, limit: Infinity, accepts: () => true };

async function withLogs(
  use: (logs: FunctionLogs, directory: string, again: () => FunctionLogs) => Promise<void>,
  options: Partial<FunctionLogsOptions> = {},
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'logs-'));
  const make = (): FunctionLogs =>
    new FunctionLogs({
      directory: join(directory, 'deep', 'logs'),
      maxBytes: Infinity,
      maxAgeMs: Infinity,
      onProblem: (message) => assert.fail(message),
      now: Date.now,
      ...options,
    });
  const logs = make();
  try {
    await use(logs, join(directory, 'deep', 'logs'), make);
  } finally {
    await logs.close();
    rmSync(directory, { recursive: true });
  }
}

/** Everything, page by page. */
async function messages(logs: FunctionLogs, name: string, limit = Infinity): Promise<string[]> {
  const found: string[] = [];
  let after: LogPosition | null = null;
  do {
    const page = await logs.read(name, { ...EVERYTHING, after, limit });
    assert.ok(page.events.length <= limit);
    found.push(...page.events.map(({ message }) => message));
    after = page.next;
  } while (after !== null);
  return found;
}

async function readBackInPages(logs: FunctionLogs, limit: number): Promise<string[]> {
  const found: string[] = [];
  let before: LogPosition | null = null;
  do {
    const page = await logs.readLast('f', { ...EVERYTHING, before, limit });
    assert.ok(page.events.length <= limit);
    found.unshift(...page.events.map(({ message }) => message));
    before = page.next;
  } while (before !== null);
  return found;
}

test('logs: what is read at once is all that was printed before', () =>
  withLogs(async (logs) => {
    const log = logs.vmLog('f', '$LATEST');
    log.printed('a', 'one\n');
    assert.deepEqual(await messages(logs, 'f'), ['one']);
    log.printed('a', 'two\n');
    assert.deepEqual(await messages(logs, 'f'), ['one', 'two']);
    assert.deepEqual(await messages(logs, 'g'), []);
    assert.deepEqual(await logs.names(), ['f']);
  }));

test('logs: the next process reads what the last one wrote, and goes on in another file', () =>
  withLogs(async (logs, directory, again) => {
    logs.vmLog('f', '1').printed('a', 'before\nunfinished');
    await logs.close();
    const [file = ''] = readdirSync(join(directory, 'f.log'));
    // As if the power had gone in the middle of a line.
    appendFileSync(join(directory, 'f.log', file), '{"t":1,"s":"x","m":"cut o');
    const next = again();
    next.vmLog('f', '1').printed('b', 'after\n');
    assert.deepEqual(await messages(next, 'f'), ['before', 'unfinished', 'after']);
    assert.deepEqual(await next.names(), ['f']);
    await next.close();
    assert.equal(readdirSync(join(directory, 'f.log')).length, 2);
  }));

test('logs: in pages of any size, forwards and backwards, each event is told once', () =>
  withLogs(async (logs, _, again) => {
    const expected: string[] = [];
    // Some 10 MB, so that there are several files.
    for (let index = 0; index < 400; index++) {
      const message = `${index} ${'é'.repeat(12_000 * (index % 3 === 0 ? 1 : 0))}`;
      expected.push(message);
      logs.vmLog('f', '1').printed('a', `${message}\n`);
      if (index % 20 === 19) await logs.names();
    }
    await logs.close();
    const next = again();
    for (const limit of [1, 7, 400, 1000]) {
      assert.deepEqual(await messages(next, 'f', limit), expected, `pages of ${limit}`);
      assert.deepEqual(await readBackInPages(next, limit), expected, `pages of ${limit}, backwards`);
    }
    await next.close();
  }));

test('logs: an interval of time and a filter leave out the others', async () => {
  let nowMs = 1000;
  await withLogs(
    async (logs) => {
      const log = logs.vmLog('f', '1');
      for (; nowMs < 1010; nowMs += 1) log.printed('a', `at ${nowMs}\n`);
      const page = await logs.read('f', {
        ...EVERYTHING,
        fromMs: 1003,
        toMs: 1008,
        accepts: ({ message }) => !message.endsWith('5'),
      });
      assert.deepEqual(
        page.events.map(({ timeMs }) => timeMs),
        [1003, 1004, 1006, 1007],
      );
    },
    { now: () => nowMs },
  );
});

test('logs: who floods its log loses its own oldest lines, not those of others', () =>
  withLogs(
    async (logs, directory) => {
      logs.vmLog('quiet', '1').printed('a', 'still here\n');
      await logs.names();
      const loud = logs.vmLog('loud', '1');
      for (let mb = 0; mb < 30; mb++) {
        for (let line = 0; line < 16; line++) loud.printed('a', `${mb} ${'x'.repeat(60_000)}\n`);
        await logs.names();
      }
      assert.deepEqual(await messages(logs, 'quiet'), ['still here']);
      const left = await messages(logs, 'loud');
      assert.ok(left.at(-1)?.startsWith('29 ') === true && left[0]?.startsWith('0 ') === false);
      const bytes = readdirSync(join(directory, 'loud.log')).map(
        (name) => statSync(join(directory, 'loud.log', name)).size,
      );
      assert.ok(bytes.reduce((a, b) => a + b) <= 10e6, bytes.join(' '));
    },
    { maxBytes: 10e6 },
  ));

test('logs: lines that come faster than they can be written are counted', () =>
  withLogs(async (logs) => {
    const log = logs.vmLog('f', '1');
    for (let line = 0; line < 100; line++) log.printed('a', `${'x'.repeat(50_000)}\n`);
    const found = await messages(logs, 'f');
    const [count = 0] = found.flatMap(
      (message) => Number(/^(\d+) lines were left out/.exec(message)?.[1] ?? NaN) || [],
    );
    assert.equal(found.length - 1 + count, 100);
    assert.deepEqual(logs.lost, { flood: count, disk: 0 });
    assert.ok(count > 50);
  }));

test('logs: files that nobody has written to for long are removed', () =>
  withLogs(
    async (logs, directory, again) => {
      logs.vmLog('old', '1').printed('a', 'a\n');
      logs.vmLog('young', '1').printed('a', 'a\n');
      await logs.close();
      const [file = ''] = readdirSync(join(directory, 'old.log'));
      utimesSync(join(directory, 'old.log', file), 1, 1);
      writeFileSync(join(directory, 'old.log', 'notes.txt'), 'of somebody else');
      const next = again();
      assert.deepEqual(await next.names(), ['young']);
      assert.deepEqual(readdirSync(join(directory, 'old.log')), ['notes.txt']);
      await next.close();
    },
    { maxAgeMs: 60_000 },
  ));

test('logs: a place that cannot be written to costs the lines and one complaint', async () => {
  const problems: string[] = [];
  const logs = new FunctionLogs({
    directory: '/proc/nowhere/logs',
    maxBytes: 1e6,
    maxAgeMs: 1e6,
    onProblem: (message) => problems.push(message),
    now: Date.now,
  });
  for (let line = 0; line < 3; line++) {
    logs.vmLog('f', '1').printed('a', 'a\n');
    assert.deepEqual(await messages(logs, 'f'), []);
  }
  await logs.close();
  assert.deepEqual(logs.lost, { flood: 0, disk: 3 });
  assert.equal(problems.length, 1);
  assert.match(problems[0] ?? '', /the output of functions cannot be kept: .*ENOENT/);
});

test('logs: a clock that is set back hides nothing from a query by time, also of the next process', async () => {
  let nowMs = Date.UTC(2026, 0, 2);
  await withLogs(
    async (logs, _, again) => {
      const since = { ...EVERYTHING, fromMs: nowMs };
      logs.vmLog('f', '1').printed('a', 'before\n');
      await logs.end('f');
      nowMs -= 3_600_000;
      logs.vmLog('f', '1').printed('a', 'an hour earlier\n');
      const told = async (of: FunctionLogs): Promise<string[]> =>
        (await of.read('f', since)).events.map(({ message }) => message);
      assert.deepEqual(await told(logs), ['before']);
      await logs.close();
      const next = again();
      assert.deepEqual(await told(next), ['before']);
      const last = await next.readLast('f', { ...since, before: null });
      assert.deepEqual(
        last.events.map(({ message }) => message),
        ['before'],
      );
      await next.close();
    },
    { now: () => nowMs },
  );
});

test('logs: who follows a log that was removed and begun again at an earlier time gets all of it', async () => {
  let nowMs = Date.UTC(2026, 0, 2);
  await withLogs(
    async (logs, directory, again) => {
      logs.vmLog('f', '1').printed('a', 'before\n');
      const after = await logs.end('f');
      await logs.close();
      rmSync(join(directory, 'f.log'), { recursive: true });
      nowMs -= 3_600_000;
      const next = again();
      next.vmLog('f', '1').printed('a', 'after\n');
      for (const page of [
        await next.read('f', { ...EVERYTHING, after }),
        await next.readLast('f', { ...EVERYTHING, after, before: null }),
      ]) {
        assert.deepEqual(
          page.events.map(({ message }) => message),
          ['after'],
        );
      }
      await next.close();
    },
    { now: () => nowMs },
  );
});

/** Runs `mount` for a directory. @returns whether it did. */
function mount(directory: string, options: string): boolean {
  return spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', directory]).status === 0;
}

test('logs: a disk that is full, or read-only, costs its lines, no files, and is used again when it can be', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'logs-'));
  if (!mount(directory, 'size=64k')) {
    rmSync(directory, { recursive: true });
    return t.skip('needs root and the right to mount a tmpfs');
  }
  const problems: string[] = [];
  const logs = new FunctionLogs({
    directory,
    maxBytes: Infinity,
    maxAgeMs: Infinity,
    onProblem: (message) => problems.push(message),
    now: Date.now,
  });
  const log = logs.vmLog('f', '1');
  const print = async (text: string): Promise<void> => {
    log.printed('a', `${text}\n`);
    await logs.end('f');
  };
  const files = (): readonly string[] => readdirSync(join(directory, 'f.log'));
  try {
    await print('kept');
    const filler = join(directory, 'filler');
    assert.throws(() => writeFileSync(filler, Buffer.alloc(128 * 1024)), { code: 'ENOSPC' });
    for (let line = 0; line < 10; line += 1) await print('x'.repeat(10_000));
    // What fits into the rest of a page may be there, as a part of a line; what follows it is in another file.
    assert.ok(files().length <= 2, files().join(' '));
    assert.equal(logs.lost.disk, 10);
    rmSync(filler);
    await print('room');
    assert.ok(mount(directory, 'remount,ro'));
    for (let line = 0; line < 10; line += 1) await print('read-only');
    assert.equal(logs.lost.disk, 20);
    assert.ok(mount(directory, 'remount,rw'));
    await print('writable');
    assert.ok(files().length <= 2, files().join(' '));
    assert.deepEqual(await messages(logs, 'f'), ['kept', 'room', 'writable']);
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? '', /the output of functions cannot be kept: .*ENOSPC/);
  } finally {
    await logs.close();
    assert.equal(spawnSync('umount', [directory]).status, 0);
    rmSync(directory, { recursive: true });
  }
});

test('logs: whatever is printed while pages are read, each event is told once', () =>
  fc.assert(
    fc.asyncProperty(fc.array(fc.nat(20), { maxLength: 20 }), (counts) =>
      withLogs(async (logs) => {
        const log = logs.vmLog('f', '1');
        const found: string[] = [];
        let after: LogPosition | null = null;
        let printed = 0;
        for (const count of [...counts, 0, 0]) {
          for (let index = 0; index < count; index++) log.printed('a', `${printed++}\n`);
          const page = await logs.read('f', { ...EVERYTHING, after, limit: count === 0 ? 1000 : 7 });
          found.push(...page.events.map(({ message }) => message));
          after = page.next ?? page.end;
        }
        assert.deepEqual(found, [...Array(printed).keys()].map(String));
      }),
    ),
    { numRuns: 20 },
  ));
