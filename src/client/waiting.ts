/** Runs in the commands of people. Waits until what a controller has begun with a function is done. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { FunctionConfiguration } from './answers.ts';
import { ClientError } from './client-error.ts';
import type { LambdaClient } from './lambda-client.ts';

/** Between two questions, in ms: soon at first, for most deployments are short. */
const FIRST_PAUSE_MS = 50;
const LAST_PAUSE_MS = 500;

export interface WaitOptions {
  readonly qualifier?: string | undefined;
  /** How long, in ms. */
  readonly patienceMs: number;
  readonly onProgress?: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * ```
 *   State             Pending    ─▶ Active      │ Failed
 *   LastUpdateStatus  InProgress ─▶ Successful  │ Failed
 * ```
 *
 * @returns the configuration that serves.
 * @throws ClientError `not_deployed` with the controller's reason, `still_deploying` when the time is over; the signal's reason.
 */
export async function waitUntilDeployed(
  client: LambdaClient,
  name: string,
  { qualifier, patienceMs, onProgress, signal }: WaitOptions,
): Promise<FunctionConfiguration> {
  const deadline = performance.now() + patienceMs;
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(LAST_PAUSE_MS, pause * 1.5)) {
    const found = await client.getConfiguration(name, qualifier);
    const { State, StateReason, StateReasonCode } = found;
    const { LastUpdateStatus, LastUpdateStatusReason, LastUpdateStatusReasonCode } = found;
    if (State === 'Failed') throw notDeployed(StateReason, StateReasonCode);
    if (LastUpdateStatus === 'Failed') throw notDeployed(LastUpdateStatusReason, LastUpdateStatusReasonCode);
    if (State !== 'Pending' && LastUpdateStatus !== 'InProgress') return found;
    onProgress?.((State === 'Pending' ? StateReason : LastUpdateStatusReason) ?? 'deploying');
    if (performance.now() + pause > deadline) {
      throw new ClientError(
        'still_deploying',
        `${name} is still not ready after ${Math.round(patienceMs / 1000)} s; "snapctr describe ${name}" tells when it is`,
      );
    }
    await sleep(pause, undefined, signal && { signal });
  }
}

function notDeployed(reason: string | undefined, code: string | undefined): ClientError {
  return new ClientError(
    'not_deployed',
    reason ?? 'the controller gives no reason',
    code === undefined ? {} : { type: code },
  );
}
