/** Runs in firerunner. Its exit codes; `docs/errors.md` shows the same table, a test compares the two. */
export const EXIT_CODES = {
  ok: 0,
  request_failed: 1,
  usage: 2,
  file_missing: 3,
  launch_failed: 4,
  load_failed: 5,
  vm_lost: 6,
  interrupted: 7,
  internal: 70,
} as const;

export type ExitCode = (typeof EXIT_CODES)[keyof typeof EXIT_CODES];

export const EXIT_CODE_MEANINGS: Readonly<Record<keyof typeof EXIT_CODES, string>> = {
  ok: 'every request was answered with a result; with --serve: stdin ended',
  request_failed: 'a request was answered with an error',
  usage: 'bad command line',
  file_missing: 'kernel, initrd, root or app file system is missing or unreadable',
  launch_failed: 'no VMM, or its VM did not come up; its last words are on stderr',
  load_failed: "the function's import failed",
  vm_lost: 'the VM was lost while it had a request',
  interrupted: 'ended by SIGINT or SIGTERM, or nobody reads its stdout any more',
  internal: 'an error of firerunner itself',
};

/** The table for `--help`. */
export function exitCodeTable(): string {
  return Object.entries(EXIT_CODE_MEANINGS)
    .map(([name, meaning]) => `  ${String(EXIT_CODES[name as keyof typeof EXIT_CODES]).padStart(2)}  ${meaning}`)
    .join('\n');
}
