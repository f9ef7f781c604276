/** Runs in each program. What the operating system calls an error, such as `ENOENT`. */

/** @returns undefined for what has no code. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** Errors of the operating system have `syscall` as well: those of Node and of aborted signals have only a code. */
export function systemCodeOf(error: unknown): string | undefined {
  return error instanceof Error && 'syscall' in error ? codeOf(error) : undefined;
}

/** Whether the operating system calls it one of these. */
export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  const code = systemCodeOf(error);
  return code !== undefined && codes.includes(code);
}
