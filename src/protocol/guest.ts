/**
 * Runs in snapctr and in firerunner. What is said between the host and a guest, as frames (`frame.ts`) on two
 * channels:
 *
 * ```
 *   snapctr ── function channel ─────────────── runtime      INVOKE, REHEARSE ▶   ◀ CHUNK*, RESULT | FAILURE
 *                                                           TAKEN, CANCEL ▶      (where several are under way)
 *   firerunner ── control channel ── init ── runtime (fd 4)
 *                                    │   ◀ HELLO   LOAD ▶  ◀ LOADED | LOAD_FAILED   SEAL ▶  ◀ SEALED | HOOK_FAILED
 *                                    │   START ▶  ◀ STARTED | HOOK_FAILED
 *                                    │   SYNC ▶  NETWORK ▶                  (host and init only)
 *                                    │   ◀ DONE, BEGUN  DRAINED ▶           (init and runtime only)
 *                                    └ ◀ LOG, LOG_END, RUNTIME_EXITED, INIT_FAILED
 * ```
 *
 * A life: HELLO (runtime up, no function) → SYNC, LOAD → LOADED → SYNC, START → STARTED → any number of INVOKE/RESULT → the
 * VMM is killed. A snapshot is taken after HELLO and SEAL (base layer), or after LOADED and SEAL (function layer); a guest that was
 * restored from it goes on where it was taken. One invocation at a time, or several in slots, where LOAD says so.
 * `guest/CONTRACT.md` tells the guest's side.
 */

/** Raised when either side changes so that an old guest and a new host would misunderstand each other. */
export const GUEST_PROTOCOL_VERSION = 6;

/** Frame types. Numbers below 16 cross the function channel, the others the control channel. */
export const FrameType = {
  /** Host → runtime: run the handler. Header `InvokeHeader`; payload: the event's bytes, unchanged. */
  invoke: 1,
  /** Runtime → host: the handler's result, or the end of a stream. Header `ResultHeader`; payload as the runtime wrote it. */
  result: 2,
  /** Runtime → host: the handler failed. Header `FailureHeader` or none; payload: `FunctionFailure` as JSON. */
  failure: 3,
  /**
   * Host → runtime: as INVOKE, but with a handler of the runtime's own that returns the event, so that the first real
   * invocation finds everything but the function's own code warm. Answered by RESULT; not counted, no DONE.
   */
  rehearse: 4,
  /** Runtime → host: a part of a streamed answer, any number of them before RESULT or FAILURE; only if INVOKE asked for it. */
  chunk: 5,
  /** Host → runtime: so much of a streamed answer was taken, so that as much more may be sent. Header `TakenHeader`. */
  taken: 6,
  /** Host → runtime: nobody waits for this answer any more. It is given all the same, as what it may be. Header `SlotHeader`. */
  cancel: 7,
  /** Runtime → init → host: the runtime is up and holds no function yet. Header `HelloHeader`. */
  hello: 16,
  /** Host → init → runtime: init mounts the app file system, the runtime imports the handler. Payload: `LoadRequest`. */
  load: 17,
  /** Runtime → init → host: the handler is imported. */
  loaded: 18,
  /** Runtime → init → host: the import failed. Payload: `FunctionFailure` as JSON. */
  loadFailed: 19,
  /** Runtime → init: an invocation was answered; all it printed is in the pipes. Header `DoneHeader` or none. */
  done: 20,
  /** Init → runtime: those pipes are empty; the next invocation may print. */
  drained: 21,
  /** Init → host, or runtime → init where `LoadRequest.output` is `frames`: output of the function. Header `LogHeader`; payload: the bytes as printed. */
  log: 22,
  /** Init → host: no more output belongs to this invocation; sent if there was any or DONE asked for it. Header `LogEndHeader`. */
  logEnd: 23,
  /** Init → host: the runtime process ended. Header `RuntimeExitHeader`. */
  runtimeExited: 24,
  /** Init → host: the guest cannot go on. Payload: the reason, one line of text. */
  initFailed: 25,
  /**
   * Host → init: what time it is, and entropy for the kernel. Payload: ns since 1970, u64, big-endian; a byte that is 0 if the
   * clock must not be set back; `ENTROPY_BYTES` random bytes.
   */
  sync: 26,
  /** Host → init → runtime: a snapshot will be taken. Header `SealHeader`. */
  seal: 27,
  /**
   * Runtime → init → host: the step of SEAL is done. Init stops the function's processes, until LOAD, SEAL or START comes. Header
   * of init's to the host `SealedHeader`; payload: names of some of the processes, as text.
   */
  sealed: 28,
  /** Host → init → runtime: this VM is about to be used. Header `StartHeader`. */
  start: 29,
  /** Runtime → init → host: the function channel may be used. */
  started: 30,
  /** Runtime → init → host: a hook of the function failed, during SEAL or START. Payload: `FunctionFailure` as JSON. */
  hookFailed: 31,
  /** Host → init: the guest's addresses, or that it has none any more; only in machines with a network. Payload: `guest-network.ts`. */
  network: 32,
  /**
   * Runtime → host-side init, where `LoadRequest.output` is `frames`: the process exits. Header `EndingHeader`. Init of a VM needs
   * no such word, which a function could forge.
   */
  ending: 33,
  /** Init → host: SYNC was obeyed. Payload: its time again, and what the guest's clock says now; both in ns since 1970, u64, big-endian. */
  synced: 34,
  /**
   * Runtime → init: another invocation is begun, where several are under way at once, and so without DONE and DRAINED: what is
   * printed then cannot be told apart.
   */
  begun: 35,
} as const;

/** Random bytes in a SYNC. */
export const ENTROPY_BYTES = 32;
/** Payload of SYNC, and of SYNCED. */
export const SYNC_BYTES = 8 + 1 + ENTROPY_BYTES;
export const SYNCED_BYTES = 16;

/**
 * `hooks`: the function's hooks before the snapshot run, and the runtime rehearses. `generators`: the random generators
 * are used once while the guest's clock stands far in the future, so that OpenSSL's find after the restore that time went
 * backwards and reseed themselves; no code of the function runs meanwhile. The latter comes before LOAD as well.
 */
export interface SealHeader {
  readonly step: 'hooks' | 'generators';
}

/** `processes`: how many the function has beside its runtime. */
export interface SealedHeader {
  readonly processes: number;
}

/** `restored`: from a function layer, so that generators are reseeded and hooks after the restore run. */
export interface StartHeader {
  readonly restored: boolean;
}

/** Names of the two QEMU virtio-serial ports, as the guest finds them in /sys/class/virtio-ports. */
export const FUNCTION_PORT_NAME = 'snapfaas.function';
export const CONTROL_PORT_NAME = 'snapfaas.control';
/** The two vsock ports on which a guest without virtio-serial listens. */
export const FUNCTION_VSOCK_PORT = 1024;
export const CONTROL_VSOCK_PORT = 1025;

/** Of a VM's memory, what `/tmp` and `/dev/shm` do not get a half of: kernel, init and the runtime's own need. */
export const SYSTEM_MIB = 64;

/** What `/tmp` and `/dev/shm` of a VM with so much memory hold together, in MiB. */
export function scratchMib(memoryMib: number): number {
  return Math.floor((memoryMib - SYSTEM_MIB) / 2);
}

/** Output that is kept of one invocation, stdout and stderr together, in bytes; the rest is cut with a mark. */
export const MAX_LOG_BYTES_PER_REQUEST = 256 * 1024;
/** Longest time that a function may have for a request, in s; AWS Lambda's limit. */
export const MAX_TIMEOUT_S = 1800;
/** Largest event and result, in bytes (6 MiB). */
export const MAX_PAYLOAD_BYTES = 6 * 1024 * 1024;
/** Largest result of a handler in Lambda's style, in bytes: what AWS Lambda allows. */
export const MAX_LAMBDA_RESULT_BYTES = MAX_PAYLOAD_BYTES + 100;
/** Largest frame either side accepts: a payload, its header and some room. */
export const MAX_FRAME_BYTES = MAX_PAYLOAD_BYTES + 128 * 1024;

/**
 * Of a streamed answer, what a runtime with several invocations under way may send ahead of TAKEN, in bytes: a client that does not
 * keep up must not stop the answers of others, which come on the same channel. What was read of its application in one go comes on top.
 */
export const STREAM_WINDOW_BYTES = 256 * 1024;

/** Which of the invocations under way a frame is about. Absent: 0. In answers as well. */
export interface SlotHeader {
  readonly slot?: number;
}

export interface TakenHeader extends SlotHeader {
  readonly bytes: number;
}

export interface InvokeHeader extends SlotHeader {
  readonly id: string;
  /** Wall clock, ms since 1970, at which the host gives up on the invocation. */
  readonly deadline_ms: number;
  /** The result must be JSON; otherwise it is whatever the language's serialiser writes, such as Python's `NaN`. */
  readonly strict?: boolean;
  /** The host takes CHUNKs; otherwise the runtime gathers a streamed answer in its RESULT. */
  readonly stream?: boolean;
  /** The caller takes answers over HTTP: metadata as `awslambda.HttpResponseStream` writes them, and the bytes of the body. */
  readonly http?: boolean;
  /** DONE is to ask for LOG_END, with a `DoneHeader`. */
  readonly log_end?: boolean;
  /** ARN of the function as its caller named it, for the handler's context. */
  readonly arn?: string;
  /** The caller's client context, JSON text. */
  readonly client_context?: string;
  /** The caller's Cognito identity, JSON text. */
  readonly cognito_identity?: string;
  /** The tenant that the VM serves, where it serves one only. */
  readonly tenant_id?: string;
  /** Becomes `_X_AMZN_TRACE_ID`. */
  readonly trace?: string;
}

export interface ResultHeader extends SlotHeader {
  /** What the payload is; absent: JSON. */
  readonly content_type?: string;
}

/** The runtime is about to end: it must not be sent another invocation. */
export interface FailureHeader extends SlotHeader {
  readonly exiting?: true;
}

/** LOG_END follows even if nothing was printed. `request`: number of the invocation. */
export interface DoneHeader {
  readonly log_end: true;
  readonly request: number;
}

export interface HelloHeader {
  readonly protocol: number;
  readonly runtime: string;
  /** The language's version, such as "3.11.2". */
  readonly version: string;
}

export type HandlerStyle = 'original' | 'lambda';

/** The function a runtime is to load. Equal for equal functions: a snapshot is bound to it. */
export interface LoadRequest {
  /** Name of the function, for the handler's context. */
  readonly function: string;
  /** Directory with the function's files as the runtime sees it: in a VM `/srv`, or `/var/task` for Lambda's style. */
  readonly root: string;
  /** `file.function`; null: the original's `workload` and `handle`. */
  readonly handler: string | null;
  /** How the handler is called: `original` with the event alone, `lambda` with event and context. */
  readonly style: HandlerStyle;
  /** Becomes `AWS_LAMBDA_INITIALIZATION_TYPE`: `snap-start` if a function layer is made of this import. */
  readonly initialization: 'on-demand' | 'snap-start';
  /** For the handler's context. */
  readonly version: string;
  /** ARN without a qualifier, for the context of invocations that name none. */
  readonly arn: string;
  readonly log_group: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Only where the function's files are a container image: what takes the place of that which the image says itself. */
  readonly image?: {
    readonly entry_point?: readonly string[];
    readonly command?: readonly string[];
    readonly working_directory?: string;
  };
  readonly memory_mib: number;
  /**
   * The function is an application on a port, which is started by this command; without a VM, on a port of its own (`PORT`). It gets
   * up to `max_concurrency` requests at once, in slots from 0.
   */
  readonly web?: { readonly port: number; readonly command: readonly string[]; readonly max_concurrency: number };
  /** Results over this many bytes are refused by the runtime. */
  readonly max_result_bytes: number;
  /**
   * How output is told apart by invocation. `pipes`: init collects all that is written to fd 1 and 2, between DONE and
   * DRAINED. `frames`: the language's own streams send LOG frames, and there is no DONE; what is written past them counts
   * for the latest invocation that printed. The first is exact, the second costs a silent invocation nothing.
   */
  readonly output: 'pipes' | 'frames';
}

/** Why a function failed, in its own words. */
export interface FunctionFailure {
  /** Class of the error, such as "ValueError". */
  readonly type: string;
  readonly message: string;
  /** Frames of the stack as the language prints them, outermost first for Python, innermost first for Node. */
  readonly stack: readonly string[];
  /** Said by the runtime itself: in AWS Lambda such a failure has no stack. */
  readonly raw?: boolean;
  /** The JSON that a client of the Runtime API has posted: what a caller of Lambda's API gets, unchanged. */
  readonly posted?: string;
  /** Set by the host where the runtime's process ended instead of answering. */
  readonly exit?: RuntimeExitHeader;
}

/** A guest's `FunctionFailure`, read with care: the guest is not trusted, so anything may be missing or wrong. */
export function parseFailure(payload: Buffer): FunctionFailure {
  let value: unknown;
  try {
    value = JSON.parse(payload.toString('utf8'));
  } catch {
    value = null;
  }
  const record = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  const { type, message, stack, raw, posted } = record;
  return {
    type: typeof type === 'string' ? type : 'Unknown',
    message: typeof message === 'string' ? message : 'the runtime gave no reason',
    stack: Array.isArray(stack) ? stack.filter((line): line is string => typeof line === 'string') : [],
    ...(raw === true ? { raw } : {}),
    ...(typeof posted === 'string' ? { posted } : {}),
  };
}

/** Types of failures that the runtime reports itself, next to the function's own error classes. */
export const RESULT_TOO_LARGE = 'Function.ResponseSizeTooLarge';
/** Type of the failure of a function whose program cannot be started. */
export const INVALID_ENTRYPOINT = 'Runtime.InvalidEntrypoint';
/** Type of the failure of a runtime that ended instead of answering; the host's word. */
export const EXIT_ERROR = 'Runtime.ExitError';
/** Type of the failure of an import that did not end in the time of a launch; the host's word. */
export const TIMED_OUT = 'Sandbox.Timedout';
/** Type of the failure of a hook after the restore. */
export const AFTER_RESTORE_ERROR = 'Runtime.AfterRestoreError';
/** Type of the failure of hooks after the restore that did not end in the time of a launch; the host's word. */
export const RESTORE_TIMED_OUT = 'Sandbox.RestoreTimedout';

export interface LogHeader {
  /** Number of the invocation in this VM, from 1; 0 is output of the import. */
  readonly request: number;
  readonly stream: 'stdout' | 'stderr';
}

export interface LogEndHeader {
  readonly request: number;
  /** Bytes that were printed, and of those the bytes cut off. */
  readonly bytes: number;
  readonly cut: number;
}

/** Either `status` or `signal` is set. */
export interface RuntimeExitHeader {
  readonly status?: number;
  readonly signal?: number;
  /** Invocations, from the first one on, of which the handler may have been begun; those after them were not. Absent: unknown. */
  readonly begun?: number;
}

export interface EndingHeader {
  /** As in `RuntimeExitHeader`. */
  readonly begun: number;
}
