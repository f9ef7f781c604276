/** Runs in snapctr. The end of an invocation's log, as `X-Amz-Log-Type: Tail` asks for it. */
import type { FunctionVersion } from '../../../registry/function-version.ts';
import { endLine, reportLine, startLine } from '../../../logs/invocation-lines.ts';
import type { Outcome } from '../../task.ts';
import { timeoutMessage } from './failures.ts';

/** What AWS Lambda shows of a log. */
const TAIL_BYTES = 4096;

/** Base64 of the last 4 KiB: START, what the function printed, END, REPORT. Null if there is no report. */
export function logResult(outcome: Outcome, fn: FunctionVersion, requestId: string): string | null {
  const { report } = outcome;
  if (report === undefined) return null;
  const { output } = report;
  const lines = [
    `${startLine(requestId, fn.version)}\n`,
    output,
    output === '' || output.endsWith('\n') ? '' : '\n',
    `${endLine(requestId)}\n`,
    `${reportLine(report, requestId)}\n`,
  ];
  if (outcome.status === 'error' && outcome.error.code === 'function_timeout') {
    lines.push(`${new Date().toISOString()} ${requestId} ${timeoutMessage(fn)}\n`);
  }
  return Buffer.from(lines.join('')).subarray(-TAIL_BYTES).toString('base64');
}
