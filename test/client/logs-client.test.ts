/** Following a log as `snapctr logs --follow` does: each event once, whatever happens, and nothing read twice. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { LogsClient, type LogQuery } from '../../src/client/logs-client.ts';
import { LogsApi } from '../../src/controller/gateway/logs/api.ts';
import { FunctionLogs } from '../../src/logs/function-logs.ts';
import { DEFAULT_ACCOUNT } from '../../src/protocol/arn.ts';
import { withGateway } from '../controller/gateway/http-client.ts';

const EVERYTHING: LogQuery = { name: 'f', sinceMs: 0, untilMs: null, version: null, filter: null, requestId: null };
/** A file of a log is not much larger, in bytes. */
const FILE_BYTES = 4 * 1024 * 1024;

interface Served {
  readonly logs: FunctionLogs;
  readonly clock: { nowMs: number };
  /** As a controller that is started anew on the same directory. */
  restart(): Promise<void>;
  /** Messages that are told, up to one; the next call goes on behind it. */
  until(message: string): Promise<string[]>;
}

async function withFollower(use: (served: Served) => Promise<void>, query = EVERYTHING): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'logs-client-'));
  const clock = { nowMs: Date.UTC(2026, 0, 2) };
  const make = (): FunctionLogs =>
    new FunctionLogs({
      directory,
      maxBytes: 1e9,
      maxAgeMs: Infinity,
      onProblem: (message) => assert.fail(message),
      now: () => clock.nowMs,
    });
  let logs = make();
  const served: Pick<FunctionLogs, 'names' | 'sizeOf' | 'read' | 'readLast' | 'end'> = {
    names: () => logs.names(),
    sizeOf: (name) => logs.sizeOf(name),
    read: (name, wanted) => logs.read(name, wanted),
    readLast: (name, wanted) => logs.readLast(name, wanted),
    end: (name) => logs.end(name),
  };
  const api = new LogsApi({ account: DEFAULT_ACCOUNT, logs: served, isFunction: (name) => name === 'f' });
  try {
    await withGateway({ jsonApis: [api] }, async (_, port) => {
      const signal = AbortSignal.timeout(60_000);
      const events = new LogsClient({ endpoint: new URL(`http://127.0.0.1:${port}`), token: null, signal }).events(
        query,
        true,
      );
      await use({
        get logs() {
          return logs;
        },
        clock,
        restart: async () => {
          await logs.close();
          logs = make();
        },
        until: async (last) => {
          const messages: string[] = [];
          while (messages.at(-1) !== last) {
            const next = await events.next();
            assert.ok(next.done !== true);
            messages.push(next.value.message);
          }
          return messages;
        },
      });
      await events.return(undefined);
    });
  } finally {
    await logs.close();
    rmSync(directory, { recursive: true });
  }
}

const numbers = (from: number, to: number): string[] => Array.from({ length: to - from }, (_, at) => `${from + at}`);

/** Bytes that this process has read so far, from anywhere; null: the kernel does not tell. */
function bytesRead(): number | null {
  try {
    return Number(/^rchar: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1] ?? NaN);
  } catch {
    return null;
  }
}

test('following a log: thousands of lines within a millisecond are told once each, and what comes later', () =>
  withFollower(async ({ logs, until }) => {
    const log = logs.vmLog('f', '1');
    for (let from = 0; from < 25_000; from += 5000) {
      log.printed('a', `${numbers(from, from + 5000).join('\n')}\n`);
      await logs.end('f');
    }
    assert.deepEqual(await until('24999'), numbers(0, 25_000));
    log.printed('a', `${numbers(25_000, 28_000).join('\n')}\n`);
    assert.deepEqual(await until('27999'), numbers(25_000, 28_000));
  }));

test('following a log: over the ends of files', () =>
  withFollower(async ({ logs, until }) => {
    const log = logs.vmLog('f', '1');
    const text = 'x'.repeat(60_000);
    const printed: string[] = [];
    for (let index = 0; index * text.length < 2 * FILE_BYTES; index += 1) {
      const message = `${index} ${text}`;
      log.printed('a', `${message}\n`);
      printed.push(message);
      if (index % 10 === 0) assert.deepEqual(await until(message), printed.splice(0));
    }
    log.printed('a', 'last\n');
    assert.deepEqual(await until('last'), [...printed, 'last']);
  }));

test('following a log: goes on with what a controller that is started anew writes', () =>
  withFollower(async (served) => {
    served.logs.vmLog('f', '1').printed('a', 'before\n');
    assert.deepEqual(await served.until('before'), ['before']);
    await served.restart();
    served.logs.vmLog('f', '1').printed('a', 'after\n');
    assert.deepEqual(await served.until('after'), ['after']);
  }));

test('following a log: a clock that is set back hides nothing', () =>
  withFollower(
    async (served) => {
      const log = served.logs.vmLog('f', '1');
      log.printed('a', 'before\n');
      assert.deepEqual(await served.until('before'), ['before']);
      served.clock.nowMs -= 3_600_000;
      log.printed('a', 'an hour earlier\n');
      assert.deepEqual(await served.until('an hour earlier'), ['an hour earlier']);
      await served.restart();
      served.logs.vmLog('f', '1').printed('a', 'and after a restart\n');
      assert.deepEqual(await served.until('and after a restart'), ['and after a restart']);
    },
    { ...EVERYTHING, sinceMs: Date.UTC(2026, 0, 2) - 1000 },
  ));

test('following a log: what was told is not read again, also where a filter finds nothing', async (t) => {
  if (bytesRead() === null) return t.skip('the kernel does not tell what this process reads');
  await withFollower(
    async ({ logs, until }) => {
      const log = logs.vmLog('f', '1');
      log.printed('a', 'wanted 0\n');
      const text = `${'x'.repeat(60_000)}\n`;
      for (let bytes = 0; bytes < FILE_BYTES - 1_000_000; bytes += 10 * text.length) {
        log.printed('a', text.repeat(10));
        await logs.end('f');
      }
      log.printed('a', 'wanted 1\n');
      await until('wanted 1');
      const before = bytesRead() ?? 0;
      for (let index = 2; index < 12; index += 1) {
        log.printed('a', `unwanted\nwanted ${index}\n`);
        assert.deepEqual(await until(`wanted ${index}`), [`wanted ${index}`]);
      }
      const read = (bytesRead() ?? 0) - before;
      assert.ok(read < FILE_BYTES / 4, `${read} bytes were read for 20 lines`);
    },
    { ...EVERYTHING, filter: 'wanted -unwanted' },
  );
});
