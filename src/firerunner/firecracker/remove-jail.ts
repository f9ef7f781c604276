/** Runs in firerunner. Removes jails, in which nothing may be followed even while something that got out of hand still runs. */
import { randomUUID } from 'node:crypto';
import { readdir, rename, rmdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode } from '../../storage/error-code.ts';

/** How often a directory is emptied that somebody fills again. */
const MAX_ROUNDS = 5;

/**
 * Removes a directory that is ours with all that is in it, though directories below it belong to somebody else, who may put a
 * link in the place of one between a look at it and the next step. So no path here has two names that are not ours: what is
 * found in a directory of theirs is unlinked, which follows nothing, or, if it is a directory, moved up into ours first.
 *
 * @throws NodeJS.ErrnoException if something cannot be removed, such as a mount.
 */
export async function removeJail(jail: string): Promise<void> {
  for (let round = 0; ; round += 1) {
    try {
      await rmdir(jail);
      return;
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return;
      if (hasCode(error, 'ENOTDIR')) return unlink(jail);
      if (!hasCode(error, 'ENOTEMPTY', 'EEXIST')) throw error;
      if (round === MAX_ROUNDS) throw error;
    }
    // As far as directories lie in each other, so often is there something in ours again.
    for (let names = await namesIn(jail); names.length > 0; names = await namesIn(jail)) {
      for (const name of names) await removeEntry(jail, name);
    }
  }
}

/** @param name of an entry of the jail itself, where nobody but us changes names. */
async function removeEntry(jail: string, name: Buffer): Promise<void> {
  const path = below(jail, name);
  if (await unlinked(path)) return;
  for (let round = 0; ; round += 1) {
    for (const inner of await namesIn(path)) {
      const innerPath = below(path, inner);
      if (!(await unlinked(innerPath))) await ignoringMissing(rename(innerPath, join(jail, randomUUID())));
    }
    try {
      await rmdir(path);
      return;
    } catch (error) {
      if (!hasCode(error, 'ENOTEMPTY', 'EEXIST') || round === MAX_ROUNDS) throw error;
    }
  }
}

/** @returns false if it is a directory. */
async function unlinked(path: Buffer): Promise<boolean> {
  try {
    await ignoringMissing(unlink(path));
    return true;
  } catch (error) {
    if (hasCode(error, 'EISDIR')) return false;
    throw error;
  }
}

/** As bytes: a name need not be UTF-8. */
function namesIn(path: string | Buffer): Promise<readonly Buffer[]> {
  return readdir(path, { encoding: 'buffer' });
}

function below(directory: string | Buffer, name: Buffer): Buffer {
  return Buffer.concat([typeof directory === 'string' ? Buffer.from(directory) : directory, Buffer.from('/'), name]);
}

async function ignoringMissing(work: Promise<void>): Promise<void> {
  await work.catch((error: unknown) => {
    if (!hasCode(error, 'ENOENT')) throw error;
  });
}
