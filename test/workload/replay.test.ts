import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { replay, type ReplayOptions } from '../../src/workload/replay.ts';
import { ReplayReport, type ReplaySummary } from '../../src/workload/replay-report.ts';

type Handler = (request: IncomingMessage, body: string, response: ServerResponse) => void;

/** Answers as `handle` says; resolves to its address. */
async function serve(t: TestContext, handle: Handler): Promise<URL> {
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => handle(request, Buffer.concat(parts).toString('utf8'), response));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  return new URL(`http://127.0.0.1:${address.port}`);
}

const line = (time: number, name = 'f', payload: unknown = {}): string =>
  JSON.stringify({ time, user_id: 1, function: name, payload });

async function run(
  endpoint: URL,
  lines: readonly string[],
  options: Partial<ReplayOptions> = {},
): Promise<{ readonly summary: ReplaySummary; readonly report: ReplayReport }> {
  const report = new ReplayReport();
  const requests = (function* () {
    yield Buffer.from(lines.map((text) => `${text}\n`).join(''));
  })();
  await replay({
    requests: requests as unknown as AsyncIterable<Buffer>,
    endpoint,
    token: null,
    speed: 1,
    maxInFlight: 100,
    report,
    signal: new AbortController().signal,
    ...options,
  });
  return { summary: report.summary(), report };
}

const answer = (response: ServerResponse, start = 'warm'): void =>
  void response.writeHead(200, { 'x-snapfaas-start': start }).end('{}');

test('replay: requests go out as they are written, with the key, and answers are counted by start', async (t) => {
  const seen: unknown[] = [];
  const endpoint = await serve(t, ({ headers }, body, response) => {
    seen.push([body, headers.authorization]);
    answer(response, seen.length === 1 ? 'cold' : 'warm');
  });
  const { summary } = await run(endpoint, [line(0, 'a', { n: 1 }), line(30, 'b')], { token: 'id.secret' });
  assert.deepEqual(seen, [
    ['{"function":"a","payload":{"n":1}}', 'Bearer id.secret'],
    ['{"function":"b","payload":{}}', 'Bearer id.secret'],
  ]);
  assert.deepEqual([summary.requests, summary.ok, summary.failed], [2, 2, {}]);
  assert.deepEqual([summary.by_start['cold']?.count, summary.by_start['warm']?.count], [1, 1]);
});

test('replay: the load is open: a slow answer keeps no later request back', async (t) => {
  let open = 0;
  let most = 0;
  const endpoint = await serve(t, (_request, _body, response) => {
    most = Math.max(most, (open += 1));
    void sleep(200).then(() => {
      open -= 1;
      answer(response);
    });
  });
  const { summary } = await run(
    endpoint,
    Array.from({ length: 10 }, (_, i) => line(i * 5)),
  );
  assert.equal(summary.ok, 10);
  assert.ok(most >= 8, `at most ${most} at once`);
});

test('replay: who waits because too many are in flight is charged from the time that its request was due', async (t) => {
  const endpoint = await serve(t, (_request, _body, response) => void sleep(100).then(() => answer(response)));
  const { summary } = await run(
    endpoint,
    Array.from({ length: 5 }, () => line(0)),
    { maxInFlight: 1 },
  );
  assert.equal(summary.ok, 5);
  assert.ok(summary.latency_ms.max >= 480, `the last took ${summary.latency_ms.max} ms`);
  assert.ok(summary.late_ms.max >= 380, `the last was sent ${summary.late_ms.max} ms late`);
});

test('replay: times pass faster by the speed', async (t) => {
  const endpoint = await serve(t, (_request, _body, response) => answer(response));
  const began = performance.now();
  const { summary } = await run(endpoint, [line(0), line(20_000)], { speed: 100 });
  assert.ok(performance.now() - began < 5000 && summary.ok === 2);
});

test('replay: failures are counted by their code, and have no latency', async (t) => {
  let count = 0;
  const endpoint = await serve(t, (request, _body, response) => {
    count += 1;
    if (count === 1) response.writeHead(429).end('{"error":{"code":"queue_full","message":"full"}}');
    else if (count === 2) response.writeHead(502).end('<html>');
    else if (count === 3) request.socket.destroy();
    else answer(response);
  });
  const { summary } = await run(endpoint, [line(0), line(50), line(100), line(150)]);
  assert.deepEqual([summary.requests, summary.ok, summary.latency_ms.count], [4, 1, 1]);
  const [queueFull, unknown, ...others] = Object.keys(summary.failed);
  assert.deepEqual([queueFull, unknown, others.length], ['queue_full', 'unknown', 1]);
  assert.match(others[0] ?? '', /^no_answer: /);
});

test('replay: lines that are no requests, have no time or go back in time are passed over and told', async (t) => {
  const endpoint = await serve(t, (_request, _body, response) => answer(response));
  const lines = [line(10), 'nonsense', '{"function":"f","payload":{}}', line(5), line(20)];
  const { summary } = await run(endpoint, lines);
  assert.deepEqual([summary.ok, summary.bad_lines], [2, { count: 3, first: 2 }]);
});

test('replay: stopped, it sends nothing more and gives up what is under way', async (t) => {
  const stop = new AbortController();
  const endpoint = await serve(t, () => stop.abort());
  const { summary } = await run(endpoint, [line(0), line(60_000)], { signal: stop.signal });
  assert.deepEqual([summary.requests, summary.failed], [1, { given_up: 1 }]);
});

test('replay report: slices of time grow with the run, and lose nothing', () => {
  const report = new ReplayReport();
  for (let i = 0; i < 1000; i += 1) {
    report.onAnswer({
      function: 'f',
      dueMs: i * 1000,
      sentMs: i * 1000 + 1,
      answeredMs: i * 1000 + 10,
      code: i % 10 === 0 ? 'queue_full' : 'ok',
      start: 'warm',
    });
  }
  const { ok, failed, latency_ms, late_ms } = report.summary();
  assert.deepEqual([ok, failed], [900, { queue_full: 100 }]);
  assert.ok(Math.abs(latency_ms.p99 - 10) < 0.1 && Math.abs(late_ms.p50 - 1) < 0.01);
  const picture = report.picture('a day <b>');
  assert.match(picture, /^<svg [^>]*>/);
  assert.ok(picture.includes('a day &lt;b>') && !picture.includes('NaN'));
});

test('replay report: codes that a stranger makes up are bounded', () => {
  const report = new ReplayReport();
  for (let i = 0; i < 1000; i += 1) {
    report.onAnswer({ function: 'f', dueMs: 0, sentMs: 0, answeredMs: 1, code: `code ${i}`, start: null });
  }
  const { failed } = report.summary();
  assert.deepEqual([Object.keys(failed).length, failed['other']], [101, 900]);
});

test('replay report: what memory was used for is drawn if it was told, and not made up where it was not', () => {
  const report = new ReplayReport();
  const answered = (dueMs: number): void =>
    report.onAnswer({ function: 'f', dueMs, sentMs: dueMs, answeredMs: dueMs + 1, code: 'ok', start: 'warm' });
  answered(0);
  assert.ok(!report.picture('some').includes('memory of VMs'));
  for (let second = 0; second < 300; second += 2) {
    answered(second * 1000);
    report.onMemory(second * 1000, { usedMib: 100, idleMib: second });
  }
  const picture = report.picture('some');
  assert.match(picture, /memory of VMs, MiB/);
  assert.match(picture, /kept idle/);
});
