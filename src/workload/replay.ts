/**
 * Runs in `snapctr replay`. Sends the requests of a file to a controller at their times, over HTTP.
 *
 * The load is open: a request is sent when its time has come, whether or not earlier ones are answered, and its latency counts from
 * that time, not from when a connection was free for it. A controller that stalls is charged with all that it kept waiting
 * ("coordinated omission" does not hide it).
 */
import { Agent as HttpAgent, request as overHttp, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as overTls } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { readLines } from '../controller/gateway/file-lines.ts';
import { MAX_PAYLOAD_BYTES } from '../protocol/guest.ts';
import { messageOf, SnapfaasError } from '../protocol/errors.ts';
import { parseRequest, type InvocationRequest } from '../protocol/request.ts';
import type { ReplayReport } from './replay-report.ts';

export interface ReplayOptions {
  /** Chunks of a file of JSON lines, as `--requests_file` has it (docs/config.md). */
  readonly requests: AsyncIterable<Buffer>;
  readonly endpoint: URL;
  /** Null: the controller has no keys. */
  readonly token: string | null;
  /** Times of the file are divided by this. */
  readonly speed: number;
  /** Requests that are not answered yet, at most; more wait here, and that counts as latency. */
  readonly maxInFlight: number;
  readonly report: ReplayReport;
  /** Aborted: nothing more is sent, and what is under way is given up. */
  readonly signal: AbortSignal;
}

/** Node's timers cannot wait longer than this, in ms. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** No answer takes longer: a function's longest time, and some for what comes before it. */
const PATIENCE_MS = 2_000_000;
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

/** @throws Error if the requests cannot be read. */
export async function replay(options: ReplayOptions): Promise<void> {
  const { report, maxInFlight, signal, speed } = options;
  const isTls = options.endpoint.protocol === 'https:';
  const agent = new (isTls ? HttpsAgent : HttpAgent)({ keepAlive: true, maxSockets: maxInFlight });
  const running = new Set<Promise<void>>();
  const startedAt = performance.now();
  let lastTime = 0;
  try {
    for await (const { number, bytes } of readLines(options.requests, MAX_PAYLOAD_BYTES)) {
      if (signal.aborted) break;
      const request = bytes === null ? null : parsed(bytes);
      if (request === null || request.time === null || request.time < lastTime) {
        report.onBadLine(number);
        continue;
      }
      lastTime = request.time;
      const dueAt = startedAt + request.time / speed;
      await until(dueAt, signal);
      while (running.size >= maxInFlight) await Promise.race(running);
      if (isStopped(signal)) break;
      const sent = send(request, dueAt - startedAt, startedAt, agent, options);
      running.add(sent);
      void sent.finally(() => running.delete(sent));
    }
    await Promise.all(running);
  } finally {
    agent.destroy();
  }
}

const isStopped = (signal: AbortSignal): boolean => signal.aborted;

function parsed(bytes: Buffer): InvocationRequest | null {
  try {
    return parseRequest(bytes, { maxPayloadBytes: MAX_PAYLOAD_BYTES });
  } catch (error) {
    if (error instanceof SnapfaasError) return null;
    throw error;
  }
}

async function until(at: number, signal: AbortSignal): Promise<void> {
  for (let ms = at - performance.now(); ms > 0 && !signal.aborted; ms = at - performance.now()) {
    await sleep(Math.min(ms, LONGEST_TIMER_MS), undefined, { signal }).catch(() => undefined);
  }
}

/** Tells the report; never rejects. */
async function send(
  { function: name, payload }: InvocationRequest,
  dueMs: number,
  startedAt: number,
  agent: HttpAgent,
  { endpoint, token, report, signal }: ReplayOptions,
): Promise<void> {
  const sentMs = performance.now() - startedAt;
  const done = (code: string, start: string | null): void => {
    report.onAnswer({ function: name, dueMs, sentMs, answeredMs: performance.now() - startedAt, code, start });
  };
  const body = Buffer.concat([
    Buffer.from(`{"function":${JSON.stringify(name)},"payload":`),
    payload,
    Buffer.from('}'),
  ]);
  const headers = {
    'content-type': 'application/json',
    'content-length': body.length,
    ...(token === null ? {} : { authorization: `Bearer ${token}` }),
  };
  try {
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const outgoing = (endpoint.protocol === 'https:' ? overTls : overHttp)(new URL('/', endpoint), {
        method: 'POST',
        headers,
        agent,
        signal,
      });
      // Node would drop the rest of many; their bytes are bounded.
      outgoing.maxHeadersCount = 0;
      outgoing.setTimeout(PATIENCE_MS, () => outgoing.destroy(new Error('no answer')));
      outgoing.once('response', resolve).once('error', reject).end(body);
    });
    const parts: Buffer[] = [];
    let bytes = 0;
    for await (const part of answer as AsyncIterable<Buffer>) {
      bytes += part.length;
      if (bytes > MAX_ANSWER_BYTES) throw new Error('the answer is too large');
      // Of good answers nothing but their end is of interest.
      if (answer.statusCode !== 200) parts.push(part);
    }
    const start = answer.headers['x-snapfaas-start'];
    done(answer.statusCode === 200 ? 'ok' : codeOf(parts), typeof start === 'string' ? start : null);
  } catch (error) {
    done(signal.aborted ? 'given_up' : `no_answer: ${messageOf(error)}`, null);
  }
}

function codeOf(parts: readonly Buffer[]): string {
  try {
    const answer: unknown = JSON.parse(Buffer.concat(parts).toString('utf8'));
    const error: unknown = typeof answer === 'object' && answer !== null && 'error' in answer ? answer.error : null;
    if (typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string')
      return error.code;
  } catch {
    // It is not a controller's.
  }
  return 'unknown';
}
