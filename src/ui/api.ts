/** Runs in the live page. What it asks of the controller's own APIs. */
import type { KnownInvocation } from '../client/invocations-client.ts';
import type { FunctionView } from '../protocol/live-state.ts';
import { headers, problemOf, RefusedError } from './server.ts';

const FUNCTIONS = '/2015-03-31/functions';

export interface FunctionDetails {
  readonly Version: string;
  readonly Handler?: string;
  readonly Runtime?: string;
  readonly MemorySize?: number;
  readonly Timeout?: number;
  readonly CodeSha256?: string;
  readonly LastModified?: string;
  readonly Environment?: { readonly Variables?: Readonly<Record<string, string>> };
}

export interface OutputEvent {
  readonly eventId: string;
  readonly timestamp: number;
  readonly message: string;
}

export interface InvokeAnswer {
  readonly requestId: string | null;
  readonly isError: boolean;
  readonly text: string;
  /** The last lines that it printed, with its report. */
  readonly log: string;
}

async function call(path: string, init: RequestInit, signal?: AbortSignal): Promise<Response> {
  const answer = await fetch(path, { cache: 'no-store', ...init, ...(signal && { signal }) });
  if (!answer.ok) throw new RefusedError(answer.status, await problemOf(answer));
  return answer;
}

async function json<T>(target: string, members: object, signal: AbortSignal): Promise<T> {
  const sent = headers({ 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': target });
  const answer = await call('/', { method: 'POST', headers: sent, body: JSON.stringify(members) }, signal);
  return (await answer.json()) as T;
}

export async function configurationOf(name: string, signal: AbortSignal): Promise<FunctionDetails> {
  const path = `${FUNCTIONS}/${encodeURIComponent(name)}/configuration`;
  return (await (await call(path, { headers: headers() }, signal)).json()) as FunctionDetails;
}

export async function versionsOf(name: string, signal: AbortSignal): Promise<readonly FunctionDetails[]> {
  const path = `${FUNCTIONS}/${encodeURIComponent(name)}/versions?MaxItems=50`;
  const answer = await call(path, { headers: headers() }, signal);
  return ((await answer.json()) as { readonly Versions: readonly FunctionDetails[] }).Versions;
}

/** What the stream does not have of a function. */
export async function viewOf(name: string, signal: AbortSignal): Promise<FunctionView> {
  return (await (
    await call(`/ui/functions/${encodeURIComponent(name)}`, { headers: headers() }, signal)
  ).json()) as FunctionView;
}

export async function invocationsOf(name: string, signal: AbortSignal): Promise<readonly KnownInvocation[]> {
  const target = 'SnapfaasInvocations.ListInvocations';
  type Found = { readonly invocations: readonly KnownInvocation[] };
  return (await json<Found>(target, { functionName: name, limit: 20 }, signal)).invocations;
}

/** A part of what was printed, and where what is printed later is found; null: nothing was, or output is not kept. */
export interface OutputPage {
  readonly events: readonly OutputEvent[];
  readonly followToken: string | null;
}

/**
 * The last events after a place, `limit` at most: of what came too fast to be read, the rest is left out.
 *
 * @param from `followToken` of the page before, or a time in ms since 1970.
 */
export async function outputOf(
  name: string,
  from: string | number,
  limit: number,
  signal: AbortSignal,
): Promise<OutputPage> {
  const target = 'Logs_20140328.FilterLogEvents';
  const place = typeof from === 'string' ? { nextToken: from } : { startTime: from };
  const members = { logGroupName: `/aws/lambda/${name}`, startFromEnd: true, limit, ...place };
  try {
    return await json<OutputPage>(target, members, signal);
  } catch (error) {
    if (error instanceof RefusedError && error.status === 400) return { events: [], followToken: null };
    throw error;
  }
}

/** @param event JSON. @throws RefusedError if the function was not run. */
export async function invoke(name: string, event: string, signal: AbortSignal): Promise<InvokeAnswer> {
  const path = `${FUNCTIONS}/${encodeURIComponent(name)}/invocations`;
  const sent = headers({ 'content-type': 'application/json', 'x-amz-log-type': 'Tail' });
  const answer = await call(path, { method: 'POST', headers: sent, body: event }, signal);
  const log = answer.headers.get('x-amz-log-result');
  return {
    requestId: answer.headers.get('x-amzn-requestid'),
    isError: answer.headers.has('x-amz-function-error'),
    text: await answer.text(),
    log: log === null ? '' : new TextDecoder().decode(Uint8Array.from(atob(log), (one) => one.charCodeAt(0))),
  };
}
