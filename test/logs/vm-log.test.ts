/** The lines of a VM's log: START, output and END in the order of the invocations, whenever the output comes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeEvent, encodeEvent, type LogEvent } from '../../src/logs/log-event.ts';
import { LATE_OUTPUT_MS, VmLog } from '../../src/logs/vm-log.ts';

const TIMES = { durationMs: 1.5, memoryMib: 128, launch: null };

class Recorder {
  nowMs = Date.UTC(2026, 0, 2);
  #elapsedMs = 0;
  readonly events: LogEvent[] = [];
  waits = false;
  readonly #isShared: boolean;
  readonly log: VmLog;

  constructor(isShared = false) {
    this.#isShared = isShared;
    this.log = this.#open();
  }

  readonly #open = (): VmLog =>
    new VmLog(
      {
        append: (line) => {
          const event = decodeEvent(line);
          assert.ok(event !== null && line.endsWith('\n') && line.indexOf('\n') === line.length - 1, line);
          this.events.push(event);
        },
        wait: () => (this.waits = true),
      },
      '7',
      () => this.nowMs,
      () => this.#elapsedMs,
      this.#isShared,
    );

  get lines(): string[] {
    return this.events.map(({ requestId, message }) => `${requestId ?? '-'}: ${message.split('\t')[0]}`);
  }

  /** @param ms go by, and whoever waits is asked. */
  pass(ms: number): void {
    this.nowMs += ms;
    this.#elapsedMs += ms;
    if (this.waits) this.waits = !this.log.settle();
  }
}

test('the log of a VM: output that comes after the answer is still before END', () => {
  const recorder = new Recorder();
  const { log } = recorder;
  log.printed(null, 'importing\n');
  log.begun('a');
  log.printed('a', 'one\ntw');
  log.answered('a', TIMES);
  recorder.pass(LATE_OUTPUT_MS / 2);
  log.printed('a', 'o\r\n\nthree');
  recorder.pass(LATE_OUTPUT_MS);
  assert.equal(recorder.waits, false);
  log.begun('b');
  log.answered('b', { ...TIMES, launch: { kind: 'restored', spawnMs: 1, bootMs: 0, loadMs: 2, resumeMs: 3 } });
  log.begun('c');
  log.close();
  assert.deepEqual(recorder.lines, [
    '-: importing',
    'a: START RequestId: a Version: 7',
    'a: one',
    'a: two',
    'a: ',
    'a: three',
    'a: END RequestId: a',
    'a: REPORT RequestId: a',
    'b: START RequestId: b Version: 7',
    'b: END RequestId: b',
    'b: REPORT RequestId: b',
    'c: START RequestId: c Version: 7',
  ]);
  const report = recorder.events.find(({ message }) => message.startsWith('REPORT RequestId: b'));
  assert.match(report?.message ?? '', /\tDuration: 1.50 ms\tBilled Duration: 2 ms\t.*\tRestore Duration: 6.00 ms\t$/);
  const [stream = '', ...others] = new Set(recorder.events.map((event) => event.stream));
  assert.match(stream, /^2026\/01\/02\/\[7\][0-9a-f]{32}$/);
  assert.deepEqual(others, []);
});

test('the log of a VM: what has no end of a line is told after a while, and a line of any length in parts', () => {
  const recorder = new Recorder();
  recorder.log.printed('a', 'password: ');
  recorder.pass(LATE_OUTPUT_MS / 2);
  assert.deepEqual(recorder.lines, []);
  recorder.pass(LATE_OUTPUT_MS / 2);
  assert.deepEqual(recorder.lines, ['a: password: ']);
  recorder.log.printed('a', `${'x'.repeat(200_000)}\n`);
  recorder.log.printed('a', 'y'.repeat(200_000));
  recorder.log.close();
  const long = recorder.events.slice(1).map(({ message }) => message);
  assert.equal(long.join(''), 'x'.repeat(200_000) + 'y'.repeat(200_000));
  assert.ok(long.every(({ length }) => length <= 64 * 1024));
});

test('the log of a VM: END, REPORT and what has no end of a line come when the clock was set back', () => {
  const recorder = new Recorder();
  recorder.log.begun('a');
  recorder.log.printed('a', 'unfinished');
  recorder.log.answered('a', TIMES);
  recorder.nowMs -= 3_600_000;
  recorder.pass(LATE_OUTPUT_MS);
  assert.equal(recorder.waits, false);
  recorder.log.printed(null, 'later');
  recorder.nowMs -= 3_600_000;
  recorder.pass(LATE_OUTPUT_MS);
  assert.deepEqual(recorder.lines.slice(1), [
    'a: unfinished',
    'a: END RequestId: a',
    'a: REPORT RequestId: a',
    '-: later',
  ]);
});

test('the log of a VM: all that was printed is there, in its order, for its invocation', () => {
  const piece = fc.tuple(fc.nat(2), fc.string({ unit: fc.constantFrom('a', 'b', '\n') }), fc.nat(LATE_OUTPUT_MS));
  fc.assert(
    fc.property(fc.array(piece), (pieces) => {
      const recorder = new Recorder();
      const printed = new Map<string, string>();
      // Numbers of invocations only ever grow.
      for (const [index, text, ms] of pieces.sort(([a], [b]) => a - b)) {
        const id = `r${index}`;
        recorder.log.printed(id, text);
        printed.set(id, (printed.get(id) ?? '') + text);
        recorder.pass(ms);
      }
      recorder.log.close();
      for (const [id, text] of printed) {
        const messages = recorder.events.flatMap((event) => (event.requestId === id ? [event.message] : []));
        assert.equal(messages.join(''), text.replaceAll('\n', ''));
      }
    }),
  );
});

test('lines of a log: whatever was printed is read as it was', () => {
  const id = fc.option(fc.uuid());
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), id, fc.nat(), (message, requestId, timeMs) => {
      const event = { timeMs, stream: '2026/01/02/[$LATEST]ab', requestId, message };
      const line = encodeEvent(event);
      assert.equal(line.indexOf('\n'), line.length - 1);
      assert.deepEqual(decodeEvent(line), event);
    }),
  );
  for (const line of [
    '',
    '{}',
    'null',
    '[1]',
    '{"t":1,"s":"a"}',
    '{"t":1,"s":"a","m":"b"',
    '{"t":"1","s":"a","m":"b"}',
  ]) {
    assert.equal(decodeEvent(line), null, line);
  }
});

test('the log of a VM that several share: each has its lines when it begins and ends, and output is of none of them', () => {
  const recorder = new Recorder(true);
  const { log } = recorder;
  log.begun('a');
  log.printed(null, 'half a li');
  log.begun('b');
  log.printed(null, 'ne\n');
  log.answered('b', TIMES);
  log.answered('a', TIMES);
  log.begun('c');
  log.printed(null, 'the rest');
  recorder.pass(LATE_OUTPUT_MS);
  log.answered('c', TIMES);
  log.close();
  assert.deepEqual(
    recorder.lines.map((line) => line.replace(/ Version.*/, '')),
    [
      'a: START RequestId: a',
      'b: START RequestId: b',
      '-: half a line',
      ...['b: END RequestId: b', 'b: REPORT RequestId: b', 'a: END RequestId: a', 'a: REPORT RequestId: a'],
      ...['c: START RequestId: c', '-: the rest', 'c: END RequestId: c', 'c: REPORT RequestId: c'],
    ],
  );
});
