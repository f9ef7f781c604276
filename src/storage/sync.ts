/** Runs in each program. What makes a rename last. */
import { open } from 'node:fs/promises';

/** Waits until a file's contents, or a directory's names, are on disk. */
export async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
