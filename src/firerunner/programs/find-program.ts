/** Runs in firerunner. Looks a program up as a shell does. */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** @returns its path; null if it is nowhere in PATH. */
export function findProgram(name: string): string | null {
  for (const directory of (process.env['PATH'] ?? '').split(delimiter)) {
    const found = directory === '' ? null : executableIn(directory, name);
    if (found !== null) return found;
  }
  return null;
}

/** @returns the path of a program in this directory; null if there is none. */
export function executableIn(directory: string, name: string): string | null {
  const path = join(directory, name);
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile() ? path : null;
  } catch {
    return null;
  }
}
