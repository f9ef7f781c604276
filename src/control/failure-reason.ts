/** Runs in snapctr. Why a deployment failed, by AWS's codes. */
import { basename, isAbsolute } from 'node:path';
import { BuildError, type BuildFailureCode } from '../protocol/builder.ts';
import { messageOf, SnapfaasError } from '../protocol/errors.ts';
import type { Reason, ReasonCode } from '../registry/records.ts';

const BY_BUILD: Partial<Record<BuildFailureCode, ReasonCode>> = {
  bad_package: 'InvalidZipFileException',
  bad_function: 'FunctionError',
  bad_image: 'InvalidImage',
};

export function reasonOf(error: unknown): Reason {
  return { message: toldOf(error), code: codeOf(error) };
}

/** Where the host keeps what it needs is not told; its log does. */
function toldOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  if (cause instanceof BuildError) return `The code cannot be made ready: ${messageOf(cause)}`;
  let told = messageOf(error);
  for (let one = error; one instanceof Error; one = one.cause) {
    const { path, dest }: NodeJS.ErrnoException & { readonly dest?: string } = one;
    for (const place of [path, dest]) {
      if (typeof place === 'string' && isAbsolute(place)) told = told.replaceAll(place, basename(place));
    }
  }
  return told;
}

function codeOf(error: unknown): ReasonCode {
  if (error instanceof BuildError) return BY_BUILD[error.code] ?? 'InternalError';
  if (error instanceof SnapfaasError) return error.code === 'function_error' ? 'FunctionError' : 'InternalError';
  return error instanceof Error && error.cause !== undefined ? codeOf(error.cause) : 'InternalError';
}
