/**
 * Runs in snapctr. Files that users name, and that are opened while it runs: the open of a FIFO that nobody has at its other end would
 * never return, and hold the event loop, or a thread of which there are four.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';

const { O_NONBLOCK, O_RDONLY } = constants;

export class NotRegularError extends Error {
  constructor(stats: Stats) {
    super(stats.isDirectory() ? 'it is a directory' : 'it is no regular file');
  }
}

/** @param flags as of open(2). @throws NotRegularError if it is anything else; NodeJS.ErrnoException */
export async function openRegular(path: string, flags: number, mode?: number): Promise<FileHandle> {
  const file = await open(path, flags | O_NONBLOCK, mode);
  try {
    const stats = await file.stat();
    if (stats.isFile()) return file;
    throw new NotRegularError(stats);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Its bytes. @throws as `openRegular`. */
export async function readRegular(path: string): Promise<Buffer> {
  const file = await openRegular(path, O_RDONLY);
  try {
    return await file.readFile();
  } finally {
    await file.close();
  }
}

/** The same, at once. @throws as `openRegular`. */
export function readRegularSync(path: string): Buffer {
  const file = openSync(path, O_RDONLY | O_NONBLOCK);
  try {
    const stats = fstatSync(file);
    if (!stats.isFile()) throw new NotRegularError(stats);
    return readFileSync(file);
  } finally {
    closeSync(file);
  }
}
