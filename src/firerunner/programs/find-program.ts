/** Runs in firerunner. Looks a program up as a shell does. */
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * @param first directories that are looked into before those of PATH.
 * @returns its path; null if it is nowhere.
 */
export function findProgram(name: string, first: readonly string[] = []): string | null {
  const directories = [...first, ...(process.env['PATH'] ?? '').split(delimiter)];
  for (const directory of directories) {
    if (directory === '') continue;
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch {
      // Not here.
    }
  }
  return null;
}
