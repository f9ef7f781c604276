/** Runs in snapctr. Why an operation on functions and layers was refused; nothing was changed then. */

import { messageOf } from '../protocol/errors.ts';

export type ControlErrorCode =
  /** There is no such function, version, alias or layer. AWS: ResourceNotFoundException. */
  | 'not_found'
  /** It is there already, is in use, or another change of it is under way. AWS: ResourceConflictException. */
  | 'conflict'
  /** The caller's revision is not the newest. AWS: PreconditionFailedException. */
  | 'precondition_failed'
  /** A value does not fit to what is there. AWS: InvalidParameterValueException. */
  | 'invalid'
  /** A package, policy or set of tags is too large. AWS: RequestEntityTooLargeException, PolicyLengthExceededException. */
  | 'too_large'
  /** All packages together are too large. AWS: CodeStorageExceededException. */
  | 'store_full'
  /** The host refused, such as by a full disk. AWS: ServiceException; the same may work later. */
  | 'host_failed';

export class ControlError extends Error {
  override readonly name = 'ControlError';
  readonly code: ControlErrorCode;

  constructor(code: ControlErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** @throws ControlError `host_failed` for whatever `work` throws. */
export async function hostFailed<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw new ControlError('host_failed', `it could not be kept: ${messageOf(cause)}; try again later`, { cause });
  }
}
