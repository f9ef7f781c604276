/** What handlers of Lambda's style return and throw leaves as it does on AWS, value by value. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import type { Frame } from '../../src/protocol/frame.ts';
import { FrameType } from '../../src/protocol/guest.ts';
import {
  buildNodeRuntime,
  failureOf,
  GuestProcess,
  runningGuests,
  type GuestLanguage,
} from '../support/guest-process.ts';
import { answered, ends, type Expected, type Value, type ValueOutcome, type ValueTable } from './lambda-values.ts';

before(buildNodeRuntime);
after(() => assert.equal(runningGuests(), 0, 'every runtime that was started has ended'));

async function start({ language, files }: ValueTable): Promise<GuestProcess> {
  const guest = await GuestProcess.start(language, files);
  const answer = await guest.load({ handler: 'app.handler', style: 'lambda' });
  assert.equal(answer.type, FrameType.loaded, answer.payload.toString());
  return guest;
}

/** Null: the process ended without an answer. */
async function invoke(guest: GuestProcess, number: number): Promise<Frame | null> {
  guest.send(String(number));
  return guest.nextFunctionFrame().catch(() => null);
}

function outcomeOf(guest: GuestProcess, frame: Frame | null): ValueOutcome {
  if (frame === null) return {};
  if (frame.type === FrameType.result) return { result: frame.payload.toString() };
  const { type, message, stack } = failureOf(frame);
  const shown = stack.filter((line) => !isOfRuntimeOrTest(line, guest.root));
  return { type, message, stack: shown.map((line) => withoutPlace(line, guest.root)) };
}

/** Frames of Node, and of the handler down to the value's own lines. */
function isOfRuntimeOrTest(line: string, root: string): boolean {
  if (line.startsWith('    at '))
    return !line.includes(root) || /^ {4}at (exports\.handler|Array\.<anonymous>) /.test(line);
  return /^ {2}File ".*\/app\.py", line \d+, in (handler|case_\d+)\n/.test(line);
}

function withoutPlace(line: string, root: string): string {
  return line
    .replaceAll(root, '/function')
    .replace(/(?<=^ {2}File "\/function\/app\.py", line )\d+/, 'N')
    .replace(/(?<=\/function\/app\.js):\d+:\d+/, '');
}

function outcomeIn(language: GuestLanguage, expected: Expected): ValueOutcome {
  if (typeof expected === 'string') return { result: expected };
  const { type, message } = expected;
  return type === undefined ? expected : { stack: language === 'python' ? [] : [`${type}: ${message}`], ...expected };
}

function hasUnescapedResults({ version }: GuestProcess): boolean {
  const [, minor = 0] = version.split('.').map(Number);
  return minor >= 12;
}

function titleOf([what, , , more]: Value): string {
  return more?.onAws === undefined ? what : `${what} (on AWS: ${more.onAws})`;
}

for (const table of answered) {
  // One process for all: what one has done to it shows in the next.
  suite(`values of ${table.title}`, () => {
    let guest: GuestProcess;
    before(async () => {
      guest = await start(table);
    });
    after(() => guest.stop());

    for (const [number, value] of table.values.entries()) {
      test(`${table.language}: ${titleOf(value)}`, async () => {
        const [, , escaped, more] = value;
        const expected = hasUnescapedResults(guest) ? (more?.from312 ?? escaped) : escaped;
        assert.deepEqual(outcomeOf(guest, await invoke(guest, number)), outcomeIn(table.language, expected));
      });
    }
  });
}

for (const table of ends) {
  suite(`ends of ${table.title}`, () => {
    for (const [number, value] of table.values.entries()) {
      test(`${table.language}: ${titleOf(value)}`, async () => {
        const guest = await start(table);
        const { status, signal, ...answer } = outcomeIn(table.language, value[2]);
        assert.deepEqual(outcomeOf(guest, await invoke(guest, number)), answer);
        const hasEnded = status !== undefined || signal !== undefined;
        const exit = await (hasEnded ? guest.remove() : guest.stop());
        if (hasEnded) assert.deepEqual(exit, { status: status ?? null, signal: signal ?? null });
      });
    }
  });
}
