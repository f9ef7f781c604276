/** Runs in snapctr. Why a caller is refused: the same reasons for our own interface and, by the names of AWS, for the Lambda API. */
import { SnapfaasError, type ErrorCode } from '../protocol/errors.ts';

/** Reasons by AWS's names, each with what our own interface calls it. */
export const ACCESS_ERRORS = {
  /** Neither a signature nor a token. */
  MissingAuthenticationTokenException: 'unauthorized',
  /** A signature that is not of the form it has to have. */
  IncompleteSignatureException: 'unauthorized',
  /** The key is not known. */
  UnrecognizedClientException: 'unauthorized',
  /** Not of this key, this request, this time or this place. */
  InvalidSignatureException: 'unauthorized',
  /** The key is known, and may not do this. */
  AccessDeniedException: 'forbidden',
} as const satisfies Record<string, ErrorCode>;

export type AccessErrorName = keyof typeof ACCESS_ERRORS;

export class AccessError extends SnapfaasError {
  readonly reason: AccessErrorName;

  constructor(reason: AccessErrorName, message: string) {
    super(ACCESS_ERRORS[reason], message);
    this.reason = reason;
  }
}
