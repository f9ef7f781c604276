/**
 * Runs in snapctr and in firerunner. The table of errors: every failure a client can see, its HTTP status and whether
 * the handler may have run. `docs/errors.md` shows the same table; a test compares the two.
 */

export type HandlerRan = 'no' | 'yes' | 'perhaps';

interface ErrorRow {
  readonly httpStatus: number;
  readonly handlerRan: HandlerRan;
}

export const ERROR_TABLE = {
  bad_request: { httpStatus: 400, handlerRan: 'no' },
  unauthorized: { httpStatus: 401, handlerRan: 'no' },
  forbidden: { httpStatus: 403, handlerRan: 'no' },
  function_not_found: { httpStatus: 404, handlerRan: 'no' },
  payload_too_large: { httpStatus: 413, handlerRan: 'no' },
  resource_exhausted: { httpStatus: 429, handlerRan: 'no' },
  queue_full: { httpStatus: 429, handlerRan: 'no' },
  function_error: { httpStatus: 502, handlerRan: 'yes' },
  vm_lost: { httpStatus: 502, handlerRan: 'perhaps' },
  response_too_large: { httpStatus: 502, handlerRan: 'yes' },
  vm_launch_failed: { httpStatus: 503, handlerRan: 'no' },
  shutting_down: { httpStatus: 503, handlerRan: 'no' },
  function_timeout: { httpStatus: 504, handlerRan: 'yes' },
  internal: { httpStatus: 500, handlerRan: 'perhaps' },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERROR_TABLE;

/** Further fields of an error body next to `code` and `message`, such as a function's `type` and `stack`. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

/** The one error that crosses stations: a code of the table and words that say what to change. */
export class SnapfaasError extends Error {
  override readonly name = 'SnapfaasError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;
  /** After how many seconds the same request is worth another try; null: that is not known. */
  readonly retryAfterS: number | null;

  constructor(
    code: ErrorCode,
    message: string,
    options: { details?: ErrorDetails; cause?: unknown; retryAfterS?: number } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
    this.retryAfterS = options.retryAfterS ?? null;
  }

  get httpStatus(): number {
    return ERROR_TABLE[this.code].httpStatus;
  }

  /** The shape clients see: `{"error": {"code", "message", …details}}`. */
  toBody(): { readonly error: { readonly code: ErrorCode; readonly message: string } } {
    return { error: { code: this.code, message: this.message, ...this.details } };
  }

  /** Any thrown value as an error of the table; what is not one of ours is `internal`, with its cause kept. */
  static from(reason: unknown): SnapfaasError {
    if (reason instanceof SnapfaasError) return reason;
    const text = messageOf(reason);
    return new SnapfaasError('internal', `an internal error: ${text}`, { cause: reason });
  }
}

/** The words of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
