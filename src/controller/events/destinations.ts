/** Runs in snapctr. Destinations that are no functions: files of JSON lines in the data directory, and HTTP endpoints. */
import { constants } from 'node:fs';
import { join } from 'node:path';
import { withLimit } from '../../protocol/abort.ts';
import { makeDirectory } from '../../storage/make-directory.ts';
import { openRegular } from '../../storage/regular-file.ts';
import { deadLetterHeaders, deadLetterLine } from './dead-letter.ts';
import type { EventContents } from './event-store.ts';
import { HOPS_HEADER } from './hops.ts';
import type { Target } from './target.ts';

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY } = constants;
/** docs/lambda.md names it. */
const ANSWER_LIMIT_MS = 10_000;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;

/** An invocation record, or a dead letter, which has attributes. */
export type Message = Pick<EventContents, 'payload' | 'attributes' | 'hops'>;

/**
 * Resolves when the message has arrived: it is on disk, or was answered with a status from 200 to 299. An endpoint may get one twice, if
 * its answer was lost; a redirect is not followed.
 *
 * @param directory where files are; null: there is none.
 * @param limitMs of an endpoint, for its answer.
 * @throws Error
 */
export async function deliver(
  directory: string | null,
  target: Target,
  message: Message,
  signal: AbortSignal,
  limitMs = ANSWER_LIMIT_MS,
): Promise<void> {
  const { payload, attributes = null } = message;
  if (target.kind === 'function') throw new Error('bug: a function is no such destination');
  if (target.kind === 'http') {
    const { url } = target;
    return withLimit(limitMs, signal, (any) => post(url, message, any));
  }
  if (directory === null) throw new Error('files of destinations are in the data directory, and there is none');
  await makeDirectory(directory, 0o700);
  await appendLine(join(directory, target.name), attributes === null ? payload : deadLetterLine(attributes, payload));
}

async function appendLine(path: string, record: Buffer): Promise<void> {
  const file = await openRegular(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
  try {
    const { size } = await file.stat();
    try {
      await file.writeFile(asLine(record));
      await file.datasync();
    } catch (error) {
      // Half a line would spoil the next one as well.
      await file.truncate(size);
      throw error;
    }
  } finally {
    await file.close();
  }
}

/** An event may have line breaks between its values; within its texts JSON has none. */
function asLine(record: Buffer): Buffer {
  const line = Buffer.concat([record, Buffer.of(LINE_FEED)]);
  for (let at = 0; at < record.length; at += 1) {
    if (line[at] === LINE_FEED || line[at] === CARRIAGE_RETURN) line[at] = SPACE;
  }
  return line;
}

async function post(url: string, { payload, attributes = null, hops }: Message, signal: AbortSignal): Promise<void> {
  const headers = {
    'content-type': 'application/json',
    [HOPS_HEADER]: String(hops),
    ...(attributes === null ? {} : deadLetterHeaders(attributes)),
  };
  const answer = await fetch(url, {
    method: 'POST',
    headers,
    body: new Uint8Array(payload),
    redirect: 'manual',
    signal,
  });
  await answer.body?.cancel();
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
}
