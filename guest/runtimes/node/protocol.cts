/** What the runtime needs of the protocol: `src/protocol/guest.ts` is its definition. */

export const PROTOCOL_VERSION = 6;

export const INVOKE = 1;
export const RESULT = 2;
export const FAILURE = 3;
export const REHEARSE = 4;
export const CHUNK = 5;
export const HELLO = 16;
export const LOAD = 17;
export const LOADED = 18;
export const LOAD_FAILED = 19;
export const DONE = 20;
export const DRAINED = 21;
export const LOG = 22;
export const SEAL = 27;
export const SEALED = 28;
export const START = 29;
export const STARTED = 30;
export const HOOK_FAILED = 31;
export const ENDING = 33;

export const FUNCTION_FD = 3;
export const CONTROL_FD = 4;

export const PREFIX_BYTES = 7;
export const MAX_FRAME_BYTES = 6 * 1024 * 1024 + 128 * 1024;
/** init accepts no larger frame from a runtime; failures of the handler keep to it as well. */
export const MAX_FAILURE_BYTES = 60_000;
/** Of a CHUNK's payload. A virtio port takes 32 KiB at a time. */
export const MAX_CHUNK_BYTES = 32 * 1024 - 256;

export interface LoadRequest {
  readonly function: string;
  readonly root: string;
  readonly handler: string | null;
  readonly style: 'original' | 'lambda';
  readonly initialization: 'on-demand' | 'snap-start';
  readonly version: string;
  readonly arn: string;
  readonly log_group: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly memory_mib: number;
  readonly max_result_bytes: number;
  readonly output: 'pipes' | 'frames';
  /** Of the runtime's own making: a wrapper of the function's has started it and set its environment. */
  readonly is_wrapped?: true;
}

export interface InvokeHeader {
  readonly id?: string;
  readonly deadline_ms?: number;
  readonly arn?: string;
  readonly client_context?: string;
  readonly cognito_identity?: string;
  readonly tenant_id?: string;
  readonly trace?: string;
  readonly stream?: boolean;
  readonly log_end?: boolean;
}

export interface SealHeader {
  readonly step: 'hooks' | 'generators';
}

export interface StartHeader {
  readonly restored: boolean;
}

export interface FunctionFailure {
  readonly type: string;
  readonly message: string;
  readonly stack: readonly string[];
  /** The platform's own failure, which tells nothing but type and message. */
  readonly raw?: true;
}
