/** Runs in snapctr. The GET routes of the HTTP gateway: alive, ready, state, metrics. */
import type { ServerResponse } from 'node:http';
import { SnapfaasError } from '../../protocol/errors.ts';
import { answer, errorAnswer, jsonAnswer, send, type Answer, type HeaderList } from './http-answer.ts';

/** Where the reports come from. */
export interface Reports {
  /** Whether new requests would be taken; if not, why. */
  readonly readiness: () => { readonly ready: boolean; readonly reason?: string };
  /** State of the controller, anything JSON can hold. */
  readonly status: () => unknown;
  readonly metrics: () => Promise<{ readonly contentType: string; readonly body: string }>;
}

export const REPORT_PATHS = ['/healthz', '/readyz', '/status', '/metrics'] as const;
export type ReportPath = (typeof REPORT_PATHS)[number];

export function reportRoute(method: string | undefined, path: string): ReportPath | null {
  if (method !== 'GET' && method !== 'HEAD') return null;
  return REPORT_PATHS.find((known) => known === path) ?? null;
}

/** Never rejects: a report that fails is answered with `internal`. HEAD gets the headers alone. */
export async function answerReport(
  path: ReportPath,
  reports: Reports,
  response: ServerResponse,
  lastAnswer: boolean,
): Promise<void> {
  const headers: HeaderList = lastAnswer ? ['connection', 'close'] : [];
  try {
    send(response, await report(path, reports, headers));
  } catch (error) {
    send(response, errorAnswer(SnapfaasError.from(error), { close: lastAnswer }));
  }
}

async function report(path: ReportPath, reports: Reports, headers: HeaderList): Promise<Answer> {
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
      const { contentType, body } = await reports.metrics();
      return answer(200, contentType, Buffer.from(body), headers);
    }
  }
}
