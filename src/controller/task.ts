/** Runs in snapctr. A task is one accepted request together with the way back to whoever asked. */
import { randomUUID } from 'node:crypto';
import type { SnapfaasError } from '../protocol/errors.ts';
import type { InvocationRequest } from '../protocol/request.ts';

/** How the VM that answered came to be: booted or restored, and unused so far; or idle since an earlier request. */
export type StartKind = 'cold' | 'restored' | 'warm';

/** What becomes of a task. `start` is null if no VM was ever found for it. */
export type Outcome =
  | { readonly status: 'ok'; readonly result: Buffer; readonly start: StartKind }
  | { readonly status: 'error'; readonly error: SnapfaasError; readonly start: StartKind | null };

export interface Task {
  /** Unique for ever; the client sees it and the function's context carries it. */
  readonly id: string;
  readonly request: InvocationRequest;
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
  /** The response channel. Called exactly once for every task that was submitted, also after an abort. */
  readonly reply: (outcome: Outcome) => void;
}

export function newTaskId(): string {
  return randomUUID();
}
