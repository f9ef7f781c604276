/**
 * Runs in snapctr. Errors of the Lambda API itself: the client or the host, not the function, is at fault. Clients take the
 * name from the header `x-amzn-errortype`. `docs/lambda.md` shows the same table; a test compares the two.
 *
 * The rule for every status from 429 on: it is sent only if the handler has certainly not run, because SDKs send the
 * request again.
 */
import { AccessError } from '../../../auth/access-error.ts';
import { SnapfaasError } from '../../../protocol/errors.ts';
import { AFTER_RESTORE_ERROR, RESTORE_TIMED_OUT } from '../../../protocol/guest.ts';
import { FunctionError } from '../../../protocol/invoker.ts';
import { EventStoreError } from '../../events/event-store.ts';
import { answer, type Answer, type HeaderList } from '../http-answer.ts';

const LIMIT_EXCEEDED = 'ConcurrentInvocationLimitExceeded';

interface ApiErrorRow {
  readonly status: number;
  /** Whose fault it is; null where AWS does not say. */
  readonly type: 'User' | 'Service' | null;
  readonly messageKey: 'message' | 'Message';
}

export const API_ERRORS = {
  AccessDeniedException: { status: 403, type: null, messageKey: 'Message' },
  CodeStorageExceededException: { status: 400, type: 'User', messageKey: 'message' },
  IncompleteSignatureException: { status: 403, type: null, messageKey: 'message' },
  InvalidParameterValueException: { status: 400, type: 'User', messageKey: 'message' },
  InvalidRequestContentException: { status: 400, type: 'User', messageKey: 'message' },
  InvalidSignatureException: { status: 403, type: null, messageKey: 'message' },
  MissingAuthenticationTokenException: { status: 403, type: null, messageKey: 'message' },
  PreconditionFailedException: { status: 412, type: 'User', messageKey: 'message' },
  ProvisionedConcurrencyConfigNotFoundException: { status: 404, type: 'User', messageKey: 'message' },
  RequestEntityTooLargeException: { status: 413, type: 'User', messageKey: 'message' },
  ResourceConflictException: { status: 409, type: 'User', messageKey: 'message' },
  ResourceNotFoundException: { status: 404, type: 'User', messageKey: 'Message' },
  SerializationException: { status: 400, type: null, messageKey: 'message' },
  ServiceException: { status: 500, type: 'Service', messageKey: 'Message' },
  SnapStartException: { status: 400, type: 'User', messageKey: 'Message' },
  SnapStartTimeoutException: { status: 408, type: 'User', messageKey: 'Message' },
  TooManyRequestsException: { status: 429, type: 'User', messageKey: 'message' },
  UnknownOperationException: { status: 404, type: 'User', messageKey: 'message' },
  UnrecognizedClientException: { status: 403, type: null, messageKey: 'message' },
  ValidationException: { status: 400, type: null, messageKey: 'message' },
} as const satisfies Record<string, ApiErrorRow>;

export type ApiErrorName = keyof typeof API_ERRORS;

export class ApiError extends Error {
  override readonly name: ApiErrorName;
  /** Why a request was throttled. */
  readonly reason: string | null;

  constructor(
    name: ApiErrorName,
    message: string,
    options: { readonly reason?: string; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = name;
    this.reason = options.reason ?? null;
  }
}

/** Says in AWS's words that a value does not fit. @param field as the API's model spells it. */
export function validationError(field: string, value: string, constraint: string): ApiError {
  const shown = value.length > 300 ? `${value.slice(0, 300)}…` : value;
  return new ApiError(
    'ValidationException',
    `1 validation error detected: Value '${shown}' at '${field}' failed to satisfy constraint: ${constraint}`,
  );
}

/** An error from before the handler ran, as the API has it. */
export function apiErrorOf(reason: unknown): ApiError {
  if (reason instanceof ApiError) return reason;
  if (reason instanceof AccessError) return new ApiError(reason.reason, reason.message, { cause: reason });
  if (reason instanceof EventStoreError && reason.code === 'full') {
    const name = 'TooManyRequestsException';
    return new ApiError(name, `Rate Exceeded. ${reason.message}`, { reason: LIMIT_EXCEEDED, cause: reason });
  }
  if (reason instanceof EventStoreError) return new ApiError('ServiceException', reason.message, { cause: reason });
  const error = SnapfaasError.from(reason);
  const { message } = error;
  if (error instanceof FunctionError) return hookError(error);
  switch (error.code) {
    case 'bad_request':
      return new ApiError(
        'tenant' in error.details ? 'InvalidParameterValueException' : 'InvalidRequestContentException',
        message,
        { cause: error },
      );
    case 'forbidden':
      return new ApiError('AccessDeniedException', message, { cause: error });
    case 'payload_too_large':
      return new ApiError('RequestEntityTooLargeException', message, { cause: error });
    case 'resource_exhausted': {
      const isOwnLimit = error.details['limit'] === 'concurrency_limit';
      const reason = `${isOwnLimit ? 'ReservedFunctionConcurrent' : 'Concurrent'}InvocationLimitExceeded`;
      return new ApiError('TooManyRequestsException', 'Rate Exceeded.', { reason, cause: error });
    }
    case 'queue_full':
      return new ApiError('TooManyRequestsException', 'Rate Exceeded.', {
        reason: LIMIT_EXCEEDED,
        cause: error,
      });
    default:
      return new ApiError('ServiceException', message, { cause: error });
  }
}

/** A hook after the restore failed, or took too long. What else is a function's error is no error of the API. */
function hookError(error: FunctionError): ApiError {
  const { type, message } = error.failure;
  switch (type) {
    case RESTORE_TIMED_OUT:
      return new ApiError('SnapStartTimeoutException', message, { cause: error });
    case AFTER_RESTORE_ERROR:
      return new ApiError('SnapStartException', `a hook after the restore failed: ${message}`, { cause: error });
    default:
      return new ApiError('ServiceException', message, { cause: error });
  }
}

export function apiErrorAnswer(error: ApiError, requestId: string): Answer {
  const { status, type, messageKey }: ApiErrorRow = API_ERRORS[error.name];
  const body = {
    ...(error.reason === null ? {} : { Reason: error.reason }),
    ...(type === null ? {} : { Type: type }),
    // AWS tells a stranger nothing; what is refused by us can be allowed by the reader.
    [messageKey]: error.name === 'AccessDeniedException' && error.cause === undefined ? null : error.message,
  };
  const headers = identityHeaders(error, requestId);
  if (status === 429 || status >= 500) headers.push('retry-after', String(retryAfterS(error.cause)));
  return answer(status, 'application/json', Buffer.from(JSON.stringify(body)), headers);
}

function retryAfterS(cause: unknown): number {
  return (cause instanceof SnapfaasError ? cause.retryAfterS : null) ?? 1;
}

/** By which clients tell one error from another, and users one request. */
export function identityHeaders(error: ApiError, requestId: string): HeaderList {
  return ['x-amzn-requestid', requestId, 'x-amzn-errortype', error.name];
}
