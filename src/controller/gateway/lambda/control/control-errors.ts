/** Runs in snapctr. Errors of the operations on functions, as the API has them. */
import { ControlError, type ControlErrorCode } from '../../../../control/control-error.ts';
import { PackageError } from '../../../../packages/package-error.ts';
import { ApiError, apiErrorOf, type ApiErrorName } from '../errors.ts';

const NAMES: Readonly<Record<ControlErrorCode, ApiErrorName>> = {
  not_found: 'ResourceNotFoundException',
  conflict: 'ResourceConflictException',
  precondition_failed: 'PreconditionFailedException',
  invalid: 'InvalidParameterValueException',
  too_large: 'RequestEntityTooLargeException',
  store_full: 'CodeStorageExceededException',
  host_failed: 'ServiceException',
};

export function controlApiError(error: unknown): ApiError {
  if (error instanceof ControlError) return new ApiError(NAMES[error.code], error.message, { cause: error });
  if (error instanceof PackageError) {
    const name = error.code === 'store_full' ? 'CodeStorageExceededException' : 'InvalidParameterValueException';
    return new ApiError(name, error.message, { cause: error });
  }
  return apiErrorOf(error);
}
