/** Answers that AWS gave, and what of them ours are compared with: the same members, and the same words where they are not chance. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { LambdaServiceException } from '@aws-sdk/client-lambda';

export type Json = Readonly<Record<string, unknown>>;

const RECORDED = JSON.parse(
  readFileSync(new URL('../fixtures/aws-lambda-recorded/answers.json', import.meta.url), 'utf8'),
) as Readonly<Record<string, { readonly content: Json }>>;

/** What AWS said, by the name of the recorded test and the keys below it. */
export function recorded(name: string, ...keys: readonly string[]): Json {
  let value: unknown = RECORDED[name]?.content;
  for (const key of keys) value = (value as Json)[key];
  assert.ok(typeof value === 'object' && value !== null, `nothing is recorded as ${name} ${keys.join(' ')}`);
  return value as Json;
}

/** A recorded string with placeholders, as a pattern. */
export function pattern(text: string): RegExp {
  if (text === 'date' || text === 'code-sha256') return /./;
  const parts = text.split(/<[^<>]+>/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('[\\s\\S]+')}$`);
}

/** The same words; placeholders stand for anything, and so do stacks, which are of other files. */
export function assertLike(actual: unknown, expected: unknown, place: string): void {
  if (place.endsWith('stackTrace') || place.endsWith('trace')) {
    assert.ok(Array.isArray(actual) && actual.length > 0, `${place} is ${JSON.stringify(actual)}`);
  } else if (typeof expected === 'string') {
    assert.match(String(actual), pattern(expected), place);
  } else if (typeof expected === 'object' && expected !== null) {
    assertSameKeys(actual, expected as Json, place);
    for (const [key, value] of Object.entries(expected)) assertLike((actual as Json)[key], value, `${place}.${key}`);
  } else {
    assert.deepEqual(actual, expected, place);
  }
}

/** The same members at every level; values may differ. */
export function assertShape(actual: unknown, expected: unknown, place: string): void {
  if (typeof expected !== 'object' || expected === null || place.endsWith('Variables')) return;
  assertSameKeys(actual, expected as Json, place);
  for (const [key, value] of Object.entries(expected)) assertShape((actual as Json)[key], value, `${place}.${key}`);
}

function assertSameKeys(actual: unknown, expected: Json, place: string): void {
  assert.ok(typeof actual === 'object' && actual !== null, `${place} is ${JSON.stringify(actual)}`);
  assert.deepEqual(Object.keys(actual).sort(), Object.keys(expected).sort(), place);
}

export function without(value: Json, ...keys: readonly string[]): Json {
  return Object.fromEntries(Object.entries(value).filter(([key]) => !keys.includes(key)));
}

/** The error that a call ends with. */
export async function refusal(sent: Promise<unknown>): Promise<LambdaServiceException> {
  try {
    await sent;
  } catch (error) {
    if (error instanceof LambdaServiceException) return error;
    throw error;
  }
  return assert.fail('it was answered');
}

/** Name, words and status of the error are those of the answer. */
export async function assertRefused(sent: Promise<unknown>, answer: Json): Promise<void> {
  const { name, message, $metadata } = await refusal(sent);
  const { Code: code, Message: words } = answer['Error'] as { Code: string; Message: string | null };
  assert.equal(name, code);
  if (words !== null) assert.match(message, pattern(words));
  assert.equal($metadata.httpStatusCode, (answer['ResponseMetadata'] as Json)['HTTPStatusCode']);
}
