/** Runs in snapctr. The GET routes of the HTTP gateway: alive, ready, state, metrics. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { AccessError } from '../../auth/access-error.ts';
import type { Caller } from '../../auth/caller.ts';
import type { Operation } from '../../auth/operations.ts';
import { SnapfaasError } from '../../protocol/errors.ts';
import { answer, errorAnswer, jsonAnswer, send, type Answer, type HeaderList } from './http-answer.ts';
import type { Connection, OpenExchange } from './http-connection.ts';

/** Where the reports come from. */
export interface Reports {
  /** Whether new requests would be taken; if not, why. */
  readonly readiness: () => { readonly ready: boolean; readonly reason?: string };
  /** State of the controller, anything JSON can hold. */
  readonly status: () => unknown;
  readonly metrics: (query: {
    readonly accept: string;
    readonly withFunctions: boolean;
  }) => Promise<{ readonly contentType: string; readonly body: string }>;
}

/** By path, what a caller must be allowed to do; null: probes of load balancers and service managers have no keys, and learn little. */
const REPORTS = {
  '/healthz': null,
  '/readyz': null,
  '/status': 'snapfaas:ReadStatus',
  '/metrics': 'snapfaas:ReadMetrics',
} as const satisfies Record<string, Operation | null>;

export type ReportPath = keyof typeof REPORTS;
export const REPORT_PATHS = Object.keys(REPORTS) as readonly ReportPath[];

/** Whether everybody gets the report. */
export function isOpen(path: ReportPath): boolean {
  return REPORTS[path] === null;
}

/** @throws AccessError */
export function authorizeReport(path: ReportPath, caller: Caller): void {
  const operation = REPORTS[path];
  if (operation === null) return;
  if (!caller.isProven) {
    throw new AccessError('InvalidSignatureException', `the signature of GET ${path} is over a body; send none`);
  }
  caller.authorize(operation);
}

export function reportRoute(method: string | undefined, path: string): ReportPath | null {
  if (method !== 'GET' && method !== 'HEAD') return null;
  return REPORT_PATHS.find((known) => known === path) ?? null;
}

/** Never rejects: a report that fails is answered with `internal`. HEAD gets the headers alone. */
export async function answerReport(
  path: ReportPath,
  reports: Reports,
  incoming: IncomingMessage,
  caller: Caller,
  response: ServerResponse,
  lastAnswer: boolean,
): Promise<void> {
  const headers: HeaderList = lastAnswer ? ['connection', 'close'] : [];
  try {
    send(response, await report(path, reports, incoming, caller, headers));
  } catch (error) {
    send(response, errorAnswer(SnapfaasError.from(error), { close: lastAnswer }));
  }
}

async function report(
  path: ReportPath,
  reports: Reports,
  incoming: IncomingMessage,
  caller: Caller,
  headers: HeaderList,
): Promise<Answer> {
  switch (path) {
    case '/healthz':
      return jsonAnswer(200, { status: 'ok' }, headers);
    case '/readyz': {
      const readiness = reports.readiness();
      return jsonAnswer(readiness.ready ? 200 : 503, readiness, headers);
    }
    case '/status':
      return jsonAnswer(200, reports.status(), headers);
    case '/metrics': {
      const accept = incoming.headers.accept ?? '';
      const { contentType, body } = await reports.metrics({ accept, withFunctions: mayListAll(caller) });
      return answer(200, contentType, Buffer.from(body), headers);
    }
  }
}

/** Whether the caller may know the names of all functions. */
function mayListAll(caller: Caller): boolean {
  try {
    caller.authorize('lambda:ListFunctions');
    return caller.mayList('*');
  } catch {
    return false;
  }
}

/** A report that its client has not got yet: it takes its place among the requests of its connection. */
export class OpenReport implements OpenExchange {
  readonly #connection: Connection;
  readonly #incoming: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #limitMs: number;

  /** @param limitMs longest time without progress that the client may take to read it. */
  constructor(connection: Connection, incoming: IncomingMessage, response: ServerResponse, limitMs: number) {
    this.#connection = connection;
    this.#incoming = incoming;
    this.#response = response;
    this.#limitMs = limitMs;
    connection.opened(this);
    response.once('close', () => connection.finished(this));
  }

  get bodyMissing(): boolean {
    return !this.#incoming.complete;
  }

  get hasBegun(): boolean {
    return this.#response.headersSent;
  }

  answered(): void {
    if (this.#response.writableLength > 0) this.#connection.limitSilence(this.#limitMs);
  }

  onBodyAborted(): void {
    this.#connection.destroy();
  }

  onSocketClosed(): void {
    // Nothing runs for it.
  }
}
