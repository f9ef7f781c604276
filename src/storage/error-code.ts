/** Runs in each program. What the operating system calls an error, such as `ENOENT`. */

/** @returns undefined for what has no code. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
