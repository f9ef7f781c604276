import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { test } from 'node:test';
import { FileGateway, type FileSummary } from '../../../src/controller/gateway/file.ts';
import type { SubmitTask } from '../../../src/controller/gateway/gateway.ts';
import type { Task } from '../../../src/controller/task.ts';
import { SnapfaasError } from '../../../src/protocol/errors.ts';
import { echo, Held } from './http-client.ts';

const LIMIT = 64 * 1024;

interface ResultLine {
  readonly index: number;
  readonly time: number | null;
  readonly user_id: number | null;
  readonly function: string | null;
  readonly status: 'ok' | 'error';
  readonly response?: unknown;
  readonly error?: { readonly code: string; readonly message: string; readonly line?: number };
  readonly start: string | null;
  readonly latency_ms: number;
}

async function inDirectory<T>(use: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'snapfaas-file-'));
  try {
    return await use(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** Serves `text` to its end. `use` runs meanwhile. */
async function serve(
  text: string | Buffer,
  submit: SubmitTask,
  use: (gateway: FileGateway, output: string) => unknown = () => undefined,
): Promise<{ lines: readonly ResultLine[]; raw: string; summary: FileSummary }> {
  return await inDirectory(async (directory) => {
    const requestsFile = join(directory, 'requests.json');
    const output = join(directory, 'results.json');
    await writeFile(requestsFile, text);
    const gateway = new FileGateway({ requestsFile, output, maxPayloadBytes: LIMIT, submit });
    await gateway.start();
    await use(gateway, output);
    const summary = await gateway.finished;
    await gateway.drain();
    await gateway.close();
    const raw = await readFile(output, 'utf8');
    assert(raw === '' || raw.endsWith('\n'));
    const lines = raw.split('\n').slice(0, -1);
    return { lines: lines.map((line) => JSON.parse(line) as ResultLine), raw, summary };
  });
}

function line(n: number, time?: number): string {
  return JSON.stringify({ ...(time === undefined ? {} : { time, user_id: n }), function: 'echo', payload: { n } });
}

test('file: each request gets one result line with exactly these keys in this order', async () => {
  const { lines, raw, summary } = await serve(`${line(0, 0)}\n${line(1, 1)}\n`, echo);
  assert.deepEqual(
    lines.map(({ latency_ms, ...rest }) => ({ ...rest, latency: typeof latency_ms })),
    [0, 1].map((n) => ({
      index: n,
      time: n,
      user_id: n,
      function: 'echo',
      status: 'ok',
      response: { n },
      start: 'warm',
      latency: 'number',
    })),
  );
  assert.match(
    raw,
    /^{"index":0,"time":0,"user_id":0,"function":"echo","status":"ok","response":{"n":0},"start":"warm","latency_ms":[\d.]+}\n/,
  );
  assert.deepEqual([summary.total, summary.ok, summary.errors, summary.complete], [2, 2, 0, true]);
  assert.deepEqual(summary.starts, { cold: 0, restored: 0, warm: 2 });
  assert(summary.latencyMs !== null && summary.latencyMs.p99 >= summary.latencyMs.p50);
  assert.match(summary.formatSummary(), /2 requests in [\d.]+ s: 2 ok, 0 failed\nstarts: 0 cold, 0 restored, 2 warm/);
});

test('file: results come in order of completion', async () => {
  const held = new Held();
  const { lines } = await serve(`${line(0)}\n${line(1)}\n${line(2)}\n`, held.submit, async () => {
    for (const task of [...(await held.until(3))].reverse()) echo(task);
  });
  assert.deepEqual(
    lines.map(({ index }) => index),
    [2, 1, 0],
  );
});

test('file: the result is spliced in as it is, on one line', async () => {
  const results = ['{ "a" : 1.00,\r\n\n "b\\n": "x\\r" }', '"grüße"', ''];
  const submit = (task: Task): void => {
    task.reply({ status: 'ok', result: Buffer.from(results.shift() ?? ''), start: 'cold' });
  };
  const { raw, lines } = await serve(`${line(0)}\n${line(1)}\n${line(2)}`, submit);
  assert.match(raw, /"response":\{ "a" : 1\.00, +"b\\n": "x\\r" \},"start":"cold"/);
  assert.deepEqual(
    lines.map(({ response }) => response),
    [{ a: 1, 'b\n': 'x\r' }, 'grüße', null],
  );
});

test('file: CRLF, and a last line without an end, are lines', async () => {
  const { lines } = await serve(`${line(0)}\r\n${line(1)}\r\n${line(2)}`, echo);
  assert.deepEqual(
    lines.map(({ index, status }) => [index, status]),
    [0, 1, 2].map((n) => [n, 'ok']),
  );
});

test('file: an empty file is a run without requests', async () => {
  const { lines, summary } = await serve('', echo);
  assert.deepEqual([lines.length, summary.total, summary.latencyMs, summary.complete], [0, 0, null, true]);
});

test('file: a bad line gets an error with its number, the others go on', async () => {
  const text = [
    line(0, 10),
    '',
    '   \t',
    '{"function":"echo","payload":',
    '{"function":"echo","payload":1,"payload":2}',
    line(5, 5),
    `{"function":"echo","payload":"${'x'.repeat(LIMIT)}"}`,
    `{"function":"echo","payload":"${'x'.repeat(10 * LIMIT)}"}`,
    Buffer.from([0xff]),
    '{"function":"echo","payload":1,"time":-1}',
    line(10, 10),
  ].map((part) => Buffer.concat([Buffer.from(part as string), Buffer.from('\n')]));
  const { lines, summary } = await serve(Buffer.concat(text), echo);
  const expected: readonly (readonly [string, RegExp] | null)[] = [
    null,
    ['bad_request', /^line 2: it is blank; remove it/],
    ['bad_request', /^line 3: it is blank/],
    ['bad_request', /^line 4: .*not valid JSON/],
    ['bad_request', /^line 5: .*"payload" is there twice/],
    ['bad_request', /^line 6: its time 5 is before 10.*sort/],
    ['payload_too_large', /^line 7: it is over the limit of 65536 bytes/],
    ['payload_too_large', /^line 8: it is over the limit/],
    ['bad_request', /^line 9: .*UTF-8/],
    ['bad_request', /^line 10: "time" must be a whole number/],
    null,
  ];
  assert.equal(lines.length, expected.length);
  for (const [index, wanted] of expected.entries()) {
    const result = lines.find((candidate) => candidate.index === index) ?? assert.fail(`no result ${index}`);
    if (wanted === null) {
      assert.equal(result.status, 'ok');
      continue;
    }
    assert.equal(result.error?.code, wanted[0]);
    assert.match(result.error.message, wanted[1]);
    assert.deepEqual([result.error.line, result.start, result.latency_ms], [index + 1, null, 0]);
  }
  assert.deepEqual([lines[5]?.function, lines[5]?.time, lines[3]?.function], ['echo', 5, null]);
  assert.deepEqual([summary.total, summary.ok, summary.byCode], [11, 2, { bad_request: 7, payload_too_large: 2 }]);
  assert.match(summary.formatSummary(), /9 failed \(7 bad_request, 2 payload_too_large\)/);
});

test('file: a task that fails or is not taken is an error line', async () => {
  const submit = (task: Task): void => {
    if (task.request.payload.toString() === '{"n":0}') throw new SnapfaasError('queue_full', 'full');
    const error = new SnapfaasError('function_error', 'it threw', { details: { type: 'E' } });
    task.reply({ status: 'error', error, start: 'cold' });
  };
  const { lines } = await serve(`${line(0)}\n${line(1)}\n`, submit);
  assert.deepEqual(lines[0]?.error, { code: 'queue_full', message: 'full' });
  assert.equal(lines[0].start, null);
  assert.deepEqual(lines[1]?.error, { code: 'function_error', message: 'it threw', type: 'E' });
  assert.equal(lines[1].start, 'cold');
});

test('file: requests are sent at their times, counted from the start, without waiting for answers', async () => {
  const held = new Held();
  const sentAt: number[] = [];
  const submit = (task: Task): void => {
    sentAt.push(performance.now());
    held.submit(task);
  };
  const times = Array.from({ length: 20 }, (_, n) => n * 5);
  let startedAt = 0;
  await serve(times.map((time, n) => line(n, time)).join('\n'), submit, async () => {
    startedAt = performance.now();
    (await held.until(times.length)).forEach(echo);
  });
  const offMs = times.map((time, n) => (sentAt[n] ?? 0) - startedAt - time).sort((left, right) => left - right);
  const [earliest = NaN] = offMs;
  // By no more than the start took to be noticed here.
  assert(earliest > -20, `a request was sent ${-earliest} ms early`);
  const median = offMs[times.length / 2] ?? NaN;
  assert(median < 200, `half of the requests were sent over ${median} ms late`);
});

test('file: 10,000 lines neither pile up nor grow the memory', async () => {
  const count = 10_000;
  const padding = 'x'.repeat(2000);
  const text = Array.from({ length: count }, (_, n) => `{"function":"echo","payload":{"n":${n},"p":"${padding}"}}\n`);
  let open = 0;
  let most = 0;
  const submit = (task: Task): void => {
    most = Math.max(most, (open += 1));
    setImmediate(() => {
      open -= 1;
      task.reply({ status: 'ok', result: Buffer.from('1'), start: 'warm' });
    });
  };
  const { summary } = await serve(text.join(''), submit);
  assert.deepEqual([summary.total, summary.ok], [count, count]);
  assert(most < 500, `${most} requests were open at once`);
});

test('file: draining ends the wait for the next time and keeps what was sent', async () => {
  const held = new Held();
  const { lines, summary } = await serve(`${line(0, 0)}\n${line(1, 3_600_000)}\n`, held.submit, async (gateway) => {
    await held.until(1);
    const drained = gateway.drain();
    echo(held.task(0));
    await drained;
  });
  assert.deepEqual([lines.length, summary.total, summary.complete, held.tasks.length], [1, 1, false, 1]);
  assert.match(summary.formatSummary(), /ended before the end/);
});

test('file: closing aborts what was sent and ends at once', async () => {
  const held = new Held();
  const { lines, summary } = await serve(`${line(0)}\n${line(1, 3_600_000)}\n`, held.submit, async (gateway) => {
    await held.until(1);
    await gateway.close();
    assert.equal(held.task(0).signal.aborted, true);
    echo(held.task(0));
  });
  assert.deepEqual([lines.length, summary.total, summary.complete], [0, 0, false]);
});

test('file: the second reply to a task is a bug that throws', async () => {
  let second: unknown;
  const submit = (task: Task): void => {
    echo(task);
    try {
      echo(task);
    } catch (error) {
      second = error;
    }
  };
  const { lines } = await serve(line(0), submit);
  assert.equal(lines.length, 1);
  assert.match(String(second), /answered twice/);
});

const unusable: readonly (readonly [
  string,
  (directory: string) => { requestsFile: string; output: string },
  RegExp,
])[] = [
  [
    'a missing request file',
    (d) => ({ requestsFile: join(d, 'no'), output: join(d, 'out') }),
    /cannot read requests from .*no: there is no such file/,
  ],
  [
    'a directory as request file',
    (d) => ({ requestsFile: d, output: join(d, 'out') }),
    /is a directory; give a file of JSON lines/,
  ],
  [
    'an output in a missing directory',
    (d) => ({ requestsFile: join(d, 'in'), output: join(d, 'no', 'out') }),
    /cannot write results to .*no such file or directory/,
  ],
  [
    'a directory as output',
    (d) => ({ requestsFile: join(d, 'in'), output: d }),
    /cannot write results to .*is a directory/,
  ],
  [
    'the request file as output',
    (d) => ({ requestsFile: join(d, 'in'), output: join(d, 'in') }),
    /is the request file itself.*--output/,
  ],
];
for (const [title, paths, message] of unusable) {
  test(`file: refuses ${title} at the start`, async () => {
    await inDirectory(async (directory) => {
      await writeFile(join(directory, 'in'), line(0));
      const gateway = new FileGateway({ ...paths(directory), maxPayloadBytes: LIMIT, submit: echo });
      await assert.rejects(gateway.start(), message);
      await gateway.drain();
      await gateway.close();
      assert.equal(await readFile(join(directory, 'in'), 'utf8'), line(0));
    });
  });
}

test('file: an output that fails while it is written ends the run with the reason', async () => {
  await inDirectory(async (directory) => {
    const requestsFile = join(directory, 'in');
    await writeFile(requestsFile, `${line(0)}\n${line(1, 3_600_000)}\n`);
    const gateway = new FileGateway({ requestsFile, output: '/dev/full', maxPayloadBytes: LIMIT, submit: echo });
    await gateway.start();
    await assert.rejects(gateway.finished, /cannot write results to \/dev\/full: .*ENOSPC/);
    await gateway.close();
  });
});

test('file: a reader of the output that does not read stops the sending, not the memory', async () => {
  await inDirectory(async (directory) => {
    const requestsFile = join(directory, 'in');
    const output = join(directory, 'fifo');
    await once(spawn('mkfifo', [output]), 'exit');
    const count = 2000;
    await writeFile(requestsFile, `${line(0)}\n`.repeat(count));
    let submitted = 0;
    const answer = Buffer.from(JSON.stringify('x'.repeat(32 * 1024)));
    const submit = (task: Task): void => {
      submitted += 1;
      task.reply({ status: 'ok', result: answer, start: 'warm' });
    };
    const gateway = new FileGateway({ requestsFile, output, maxPayloadBytes: LIMIT, submit });
    const [reader] = await Promise.all([open(output, 'r'), gateway.start()]);
    // The gateway is as far as it will come when nothing was submitted between two looks.
    for (let before = -1; before !== submitted;) {
      before = submitted;
      for (let turn = 0; turn < 1000; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    }
    assert(submitted < count, 'every request was sent although no result was read');
    let read = 0;
    for await (const chunk of reader.createReadStream())
      read += (chunk as Buffer).filter((byte) => byte === 0x0a).length;
    assert.equal(read, count);
    assert.equal((await gateway.finished).ok, count);
    await gateway.close();
  });
});
