/**
 * Runs in each program. Removes a directory with all that is in it. Node's own `rm` asks for all entries of a tree at once: with the
 * hundred thousand files that a package may have, the event loop stands still for seconds, and a process that does not answer is taken
 * for dead.
 */
import { readdir, rmdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf } from './error-code.ts';

/** Entries that are removed at once. */
const AT_ONCE = 32;
/** How often a directory is emptied that somebody still fills, such as a tool that is being ended. */
const MAX_TRIES = 10;

/** A file or a link is removed as well; links are not followed. Nothing there is no error. @throws NodeJS.ErrnoException */
export async function removeTree(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    // Linux says EISDIR of a directory, POSIX EPERM.
    if (codeOf(error) === 'EISDIR' || codeOf(error) === 'EPERM') {
      await removeDirectory(path).catch((inner: unknown) => {
        throw codeOf(inner) === 'ENOTDIR' ? error : inner;
      });
    } else if (codeOf(error) !== 'ENOENT') throw error;
  }
}

async function removeDirectory(path: string): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await removeEntries(path);
      return await rmdir(path);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return;
      if (codeOf(error) !== 'ENOTEMPTY' || tries === MAX_TRIES) throw error;
    }
  }
}

async function removeEntries(path: string): Promise<void> {
  const entries = await readdir(path, { withFileTypes: true });
  const files = entries.filter((entry) => !entry.isDirectory());
  for (let at = 0; at < files.length; at += AT_ONCE) {
    await Promise.all(files.slice(at, at + AT_ONCE).map(({ name }) => removeTree(join(path, name))));
  }
  for (const entry of entries) if (entry.isDirectory()) await removeDirectory(join(path, entry.name));
}
