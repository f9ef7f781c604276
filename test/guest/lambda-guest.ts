/** What the tests of handlers in Lambda's style have in common. */
import assert from 'node:assert/strict';
import type { Frame } from '../../src/protocol/frame.ts';
import { FrameType, type LoadRequest } from '../../src/protocol/guest.ts';
import { failureOf, GuestProcess, type GuestLanguage } from '../support/guest-process.ts';
import type { Outcome } from './lambda-cases.ts';
import { lambdaNode } from './lambda-functions-node.ts';
import { lambdaPython } from './lambda-functions-python.ts';

export const functions = { python: lambdaPython, node: lambdaNode };

export async function withFunction(
  language: GuestLanguage,
  handler: string,
  use: (guest: GuestProcess) => Promise<void>,
  load: Partial<LoadRequest> = {},
): Promise<void> {
  const guest = await GuestProcess.start(language, functions[language]);
  try {
    const answer = await guest.load({ handler, style: 'lambda', ...load });
    assert.equal(answer.type, FrameType.loaded, answer.payload.toString());
    await use(guest);
  } finally {
    await guest.stop();
  }
}

/** Loads a function whose process will end by itself. */
export async function startLast(language: GuestLanguage, handler: string): Promise<GuestProcess> {
  const guest = await GuestProcess.start(language, functions[language]);
  assert.equal((await guest.load({ handler, style: 'lambda' })).type, FrameType.loaded);
  return guest;
}

export function assertOutcome(frame: Frame, outcome: Outcome): void {
  const text = frame.payload.toString('utf8');
  if ('result' in outcome) {
    assert.equal(text, outcome.result);
    assert.equal(frame.type, FrameType.result);
    return;
  }
  const failure = failureOf(frame);
  assert.equal(failure.type, outcome.type, text);
  assertText(failure.message, outcome.message);
  for (const [at, line] of (outcome.stack ?? []).entries()) assertText(failure.stack[at] ?? '', line);
  if (outcome.stack?.length === 0) assert.deepEqual(failure.stack, []);
  // Node's list of modules that required each other begins with the runtime's.
  const frames = failure.stack.filter((line) => !line.startsWith('- '));
  assert.doesNotMatch(frames.join('\n'), /guest\/(node|runtimes)/, 'no frame is of the runtime');
}

function assertText(actual: string, expected: string | RegExp): void {
  if (typeof expected === 'string') assert.equal(actual, expected);
  else assert.match(actual, expected);
}

export async function jsonOf(
  guest: GuestProcess,
  header: Parameters<GuestProcess['invoke']>[1] = {},
): Promise<Record<string, unknown>> {
  const reply = await guest.invoke('{}', header);
  assert.equal(reply.type, FrameType.result, reply.payload.toString());
  return JSON.parse(reply.payload.toString('utf8')) as Record<string, unknown>;
}
