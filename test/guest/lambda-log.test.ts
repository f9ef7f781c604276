/** What handlers of Lambda's style find in their log. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { FrameType } from '../../src/protocol/guest.ts';
import { buildNodeRuntime, GuestProcess, runningGuests } from '../support/guest-process.ts';
import { lambdaPython } from './lambda-functions-python.ts';
import { withFunction } from './lambda-guest.ts';

before(buildNodeRuntime);
after(() => assert.equal(runningGuests(), 0, 'every runtime that was started has ended'));

const jsonLog = { environment: { AWS_LAMBDA_LOG_FORMAT: 'JSON' } };
/** As Lambda's client for Python writes it in lines of JSON. */
const SECOND = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`;
const TIME = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`;

test('python: logging and print reach the log as in Lambda', () =>
  withFunction('python', 'app.logs', async (guest) => {
    await guest.invoke('{}', { id: 'the-id' });
    const { stdout, stderr } = await guest.printedBy(1);
    const lines = [
      String.raw`\[INFO\]\t${TIME}\tthe-id\tfrom logging`,
      String.raw`\[ERROR\]\t${TIME}\tthe-id\toh`,
      'no',
      'from print',
      'from context',
    ];
    assert.match(stdout, new RegExp(`^${lines.join('\\n')}$`));
    assert.equal(stderr, '');
  }));

test('python: a module that logs while it is imported finds logging set up, with no request', () =>
  withFunction('python', 'logs_early.handle', async (guest) => {
    assert.match((await guest.printedBy(0)).stdout, new RegExp(String.raw`^\[WARNING\]\t${TIME}\t\tearly\n$`));
  }));

test('python: a rehearsal of logging prints nothing', async () => {
  const guest = await GuestProcess.start('python', lambdaPython);
  await guest.import({ handler: 'logs_early.handle', style: 'lambda' });
  assert.equal((await guest.command(FrameType.seal, { step: 'hooks' })).type, FrameType.sealed);
  assert.equal((await guest.command(FrameType.start, { restored: true })).type, FrameType.started);
  assert.match((await guest.printedBy(0)).stdout, /^\[WARNING\]\t[^\n]*\tearly\n$/);
  await guest.stop();
});

test('python: lines of the log are JSON where that is wanted, from the wanted level on', () =>
  withFunction(
    'python',
    'app.logs',
    async (guest) => {
      await guest.invoke('{}', { id: 'the-id' });
      const [first] = (await guest.printedBy(1)).stdout.split('\n');
      const { timestamp, ...rest } = JSON.parse(first ?? '') as Record<string, unknown>;
      assert.match(String(timestamp), new RegExp(`^${SECOND}$`));
      assert.deepEqual(rest, { level: 'INFO', message: 'from logging', logger: 'root', requestId: 'the-id' });
    },
    { environment: { AWS_LAMBDA_LOG_FORMAT: 'JSON', AWS_LAMBDA_LOG_LEVEL: 'ERROR' } },
  ));

test('python: each record ends its line, also with a traceback or in a format of the function', () =>
  withFunction('python', 'app.logs_errors', async (guest) => {
    await guest.invoke('{"zero":0}', { id: 'the-id' });
    const lines = (await guest.printedBy(1)).stdout.split('\n');
    assert.match(lines[0] ?? '', /^\[ERROR\]\t.*\tthe-id\tfailed$/);
    const last = lines.indexOf('ZeroDivisionError: division by zero');
    assert.ok(last > 0, lines.join('\n'));
    assert.match(lines[last + 1] ?? '', new RegExp(`^\\[INFO\\]\\t${TIME}\\tthe-id\\tnext$`));
    assert.deepEqual(lines.slice(last + 2), ['own: one', 'own: two', '']);
  }));

test('python: a JSON line has what the record has on top, and where an exception was logged', () =>
  withFunction(
    'python',
    'app.logs_more',
    async (guest) => {
      await guest.invoke('{"zero":0}', { id: 'the-id' });
      const lines = (await guest.printedBy(1)).stdout.trimEnd().split('\n');
      const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
      for (const line of parsed) {
        assert.match(String(line['timestamp']), new RegExp(`^${SECOND}$`));
        delete line['timestamp'];
      }
      const [noticed, failed, last] = parsed;
      const common = { logger: 'root', requestId: 'the-id' };
      assert.deepEqual(noticed, {
        ...common,
        level: 'INFO',
        message: 'noticed',
        order_id: 7,
        tags: { of: [1, "<class 'app.Service'>"] },
      });
      const { location, stackTrace, ...rest } = failed ?? {};
      assert.deepEqual(rest, {
        ...common,
        level: 'ERROR',
        message: 'failed',
        errorType: 'ZeroDivisionError',
        errorMessage: 'division by zero',
      });
      const frame = /^ {2}File ".*\/app\.py", line (\d+), in logs_more\n {4}1 \/ event\["zero"\]\n/;
      assert.ok(Array.isArray(stackTrace) && stackTrace.length === 1, JSON.stringify(stackTrace));
      const [, line] = frame.exec(String(stackTrace[0])) ?? [];
      assert.equal(location, `${guest.root}/app.py:logs_more:${Number(line) + 2}`);
      assert.deepEqual(last, { ...common, level: 'CRITICAL', message: 'no exception' });
    },
    jsonLog,
  ));

test('python: a failure is in the log, with indentation that stays', () =>
  withFunction('python', 'app.throws', async (guest) => {
    await guest.invoke('{}');
    const { stdout } = await guest.printedBy(1);
    const where = `\u00a0\u00a0File "${guest.root}/app.py", line 44, in throws`;
    const code = '\u00a0\u00a0\u00a0\u00a0raise CustomException("some error occurred")';
    assert.equal(
      stdout,
      `[ERROR] CustomException: some error occurred\nTraceback (most recent call last):\n${where}\n${code}\n`,
    );
  }));

test('node: console writes lines as in Lambda, all to stdout', () =>
  withFunction('node', 'app.logs', async (guest) => {
    await guest.invoke('{}', { id: 'the-id' });
    const { stdout, stderr } = await guest.printedBy(1);
    const line = (level: string, text: string): string => String.raw`${TIME}\tthe-id\t${level}\t${text}\n`;
    const lines = [
      line('INFO', 'a b { c: 1 }'),
      line('INFO', 'info'),
      line('WARN', 'warn'),
      line('ERROR', 'shown'),
      line('DEBUG', 'debug'),
      line('TRACE', 'trace'),
      line('INFO', 'two\\nlines'),
    ];
    assert.match(stdout, new RegExp(`^${lines.join('')}$`));
    assert.equal(stderr, '');
  }));

test('node: lines of the log are JSON where that is wanted, from the wanted level on', () =>
  withFunction(
    'node',
    'app.logs',
    async (guest) => {
      await guest.invoke('{}', { id: 'the-id' });
      const lines = (await guest.printedBy(1)).stdout.trimEnd().split('\n');
      const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
      assert.deepEqual(
        parsed.map(({ level, message, requestId }) => [level, message, requestId]),
        [
          ['WARN', 'warn', 'the-id'],
          ['ERROR', 'shown', 'the-id'],
        ],
      );
    },
    { environment: { AWS_LAMBDA_LOG_FORMAT: 'JSON', AWS_LAMBDA_LOG_LEVEL: 'WARN' } },
  ));

test('node: a JSON line tells of errors wherever they are, once and with their own members', () =>
  withFunction(
    'node',
    'app.logs_json',
    async (guest) => {
      await guest.invoke('{}', { id: 'the-id' });
      const lines = (await guest.printedBy(1)).stdout.trimEnd().split('\n');
      const parsed = lines.map((text) => {
        const { timestamp, requestId, level, ...rest } = JSON.parse(text) as Record<string, unknown>;
        assert.match(String(timestamp), new RegExp(`^${TIME}$`));
        assert.equal(requestId, 'the-id');
        assert.match(String(level), /^(ERROR|INFO)$/);
        return rest;
      });
      const [alone, within, nothing, formatted, circular, unknown] = parsed;
      const { stackTrace } = alone?.['message'] as { stackTrace: string[] };
      assert.equal(stackTrace[0], 'TypeError: boom');
      assert.match(stackTrace[1] ?? '', /^ {4}at exports\.logs_json \(.*\/app\.js:\d+:\d+\)$/);
      assert.doesNotMatch(stackTrace.join('\n'), /guest\/node/);
      const boom = { errorType: 'TypeError', errorMessage: 'boom', stackTrace };
      const whole = { ...boom, code: 'E_BOOM', orderId: 7 };
      assert.deepEqual(alone, { message: whole });
      const { deep, ...rest } = within?.['message'] as { deep: { cause: Record<string, unknown> }[] };
      assert.deepEqual(rest, { text: 'failed', error: whole });
      assert.equal(deep[0]?.cause['errorType'], 'RangeError');
      assert.equal(deep[0].cause['errorMessage'], 'inner');
      assert.deepEqual(nothing, {});
      const { message, ...details } = formatted ?? {};
      assert.match(String(message), /^with text TypeError: boom\n/);
      assert.deepEqual(details, boom);
      assert.match(String(circular?.['message']), /^<ref \*1> \{ self: \[Circular \*1\] \}$/);
      assert.equal((unknown?.['message'] as Record<string, unknown>)['errorType'], 'UnknownError');
    },
    jsonLog,
  ));

test('node: a failure is in the JSON log, also one that has no text', async () => {
  for (const [handler, errorType, errorMessage] of [
    ['throws_named', 'OutOfCheese', 'redo'],
    ['throws_untold', 'TypeError', 'Cannot convert object to primitive value'],
  ] as const) {
    await withFunction(
      'node',
      `app.${handler}`,
      async (guest) => {
        await guest.invoke('{}', { id: 'the-id' });
        const { level, message } = JSON.parse((await guest.printedBy(1)).stdout) as Record<string, unknown>;
        assert.equal(level, 'ERROR');
        const { stackTrace, ...details } = message as Record<string, unknown>;
        assert.deepEqual(details, {
          errorType,
          errorMessage,
          ...(handler === 'throws_named' && { name: 'OutOfCheeseError' }),
        });
        assert.ok(Array.isArray(stackTrace));
      },
      jsonLog,
    );
  }
});

test('node: a failure is in the log', () =>
  withFunction('node', 'app.throws_named', async (guest) => {
    await guest.invoke('{}', { id: 'the-id' });
    const { stdout } = await guest.printedBy(1);
    const start = new RegExp(`^${TIME}\\tthe-id\\tERROR\\tInvoke Error \\t(\\{.*\\})\\n$`);
    const logged = JSON.parse(start.exec(stdout)?.[1] ?? '') as Record<string, unknown>;
    assert.equal(logged['errorType'], 'OutOfCheeseError');
    assert.equal(logged['errorMessage'], 'redo');
    assert.ok(Array.isArray(logged['stack']));
  }));
