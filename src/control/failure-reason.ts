/** Runs in snapctr. Why a deployment failed, by AWS's codes. */
import { BuildError, type BuildFailureCode } from '../protocol/builder.ts';
import { messageOf, SnapfaasError } from '../protocol/errors.ts';
import type { Reason, ReasonCode } from '../registry/records.ts';

const BY_BUILD: Partial<Record<BuildFailureCode, ReasonCode>> = {
  bad_package: 'InvalidZipFileException',
  bad_function: 'FunctionError',
  bad_image: 'InvalidImage',
};

export function reasonOf(error: unknown): Reason {
  return { message: messageOf(error), code: codeOf(error) };
}

function codeOf(error: unknown): ReasonCode {
  if (error instanceof BuildError) return BY_BUILD[error.code] ?? 'InternalError';
  if (error instanceof SnapfaasError) return error.code === 'function_error' ? 'FunctionError' : 'InternalError';
  return error instanceof Error && error.cause !== undefined ? codeOf(error.cause) : 'InternalError';
}
