/** Runs in snapctr. The end of an invocation's log, as `X-Amz-Log-Type: Tail` asks for it. */
import type { FunctionVersion } from '../../../registry/function-version.ts';
import type { InvocationReport } from '../../invocation-log.ts';
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
    `START RequestId: ${requestId} Version: ${fn.version}\n`,
    output,
    output === '' || output.endsWith('\n') ? '' : '\n',
    `END RequestId: ${requestId}\n`,
    `${reportLine(report, requestId)}\n`,
  ];
  if (outcome.status === 'error' && outcome.error.code === 'function_timeout') {
    lines.push(`${new Date().toISOString()} ${requestId} ${timeoutMessage(fn)}\n`);
  }
  return Buffer.from(lines.join('')).subarray(-TAIL_BYTES).toString('base64');
}

/** What memory was used is not measured: the line has the VM's whole memory there. */
function reportLine({ durationMs, memoryMib, launch }: InvocationReport, requestId: string): string {
  const fields = [
    `REPORT RequestId: ${requestId}`,
    `Duration: ${durationMs.toFixed(2)} ms`,
    `Billed Duration: ${Math.ceil(durationMs)} ms`,
    `Memory Size: ${memoryMib} MB`,
    `Max Memory Used: ${memoryMib} MB`,
  ];
  if (launch !== null) {
    const launchMs = launch.spawnMs + launch.bootMs + launch.loadMs + launch.resumeMs;
    fields.push(`${launch.kind === 'cold' ? 'Init' : 'Restore'} Duration: ${launchMs.toFixed(2)} ms`);
  }
  return `${fields.join('\t')}\t`;
}
