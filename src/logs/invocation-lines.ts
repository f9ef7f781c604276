/** Runs in snapctr. The lines that AWS Lambda has around the output of each invocation. */
import type { LaunchTimings } from '../protocol/runner.ts';

export interface InvocationTimes {
  /** From handing the event to the VM until the answer. */
  readonly durationMs: number;
  readonly memoryMib: number;
  /** How the VM came up; null if the invocation was not the first on it. */
  readonly launch: LaunchTimings | null;
}

export function startLine(requestId: string, version: string): string {
  return `START RequestId: ${requestId} Version: ${version}`;
}

export function endLine(requestId: string): string {
  return `END RequestId: ${requestId}`;
}

/** What memory was used is not measured: the line has the VM's whole memory there. */
export function reportLine({ durationMs, memoryMib, launch }: InvocationTimes, requestId: string): string {
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
