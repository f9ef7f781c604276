/**
 * Programs that some tests need and that a machine may lack. `npm test` installs them on Debian; where it is told
 * `--vmm process`, or a file is run by itself, the tests are skipped and say why.
 */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Of Debian's package. */
export const CHROMIUM = '/usr/bin/chromium';

/** With "required" a program that is not there fails the tests which need it: CI would go on without them for ever. */
const VARIABLE = 'SNAPFAAS_TEST_PROGRAMS';

/**
 * Why tests with a program are skipped; false: they are not.
 *
 * @param program a name that is looked up in PATH, or an absolute path.
 * @param debianPackage which has it.
 * @throws Error if it is not there and has to be.
 */
export function whyWithout(program: string, debianPackage: string): string | false {
  const folders = program.startsWith('/') ? ['/'] : (process.env['PATH'] ?? '').split(delimiter);
  if (folders.some((folder) => isExecutable(join(folder, program)))) return false;
  const why = `there is no ${program}; Debian has it in the package ${debianPackage}`;
  if (process.env[VARIABLE] === 'required') throw new Error(`${why}, and ${VARIABLE} says that no test goes without`);
  return why;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
