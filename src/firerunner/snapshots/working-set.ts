/**
 * Runs in firerunner. The pages of a snapshot's memory that an invocation touches: found out from the page tables of the
 * first VM that served one, and read ahead when a later VM starts and they are not in the page cache.
 */
import { readSync } from 'node:fs';
import { open, readFile, readlink, type FileHandle } from 'node:fs/promises';

const PAGE_BYTES = 4096;
/** An entry of /proc/PID/pagemap; bit 63 tells that the page is mapped. */
const PAGEMAP_ENTRY_BYTES = 8;
/** Pages between two touched ones that are read along: a read has a cost of its own. */
const GAP_PAGES = 8;
const READ_BYTES = 512 * 1024;
const READS_AT_ONCE = 4;
/** Pages whose reading shows whether the memory is in the page cache, and how long that takes at most if it is, in µs. */
const PROBES = 4;
const CACHED_READ_US = 50;

/** `pages` pages from page number `firstPage` on. */
export interface PageRun {
  readonly firstPage: number;
  readonly pages: number;
}

/**
 * @param pid a VMM that maps `memory` and has served a request.
 * @returns the pages of the file that it has mapped, in order; empty if the kernel does not tell.
 */
export async function touchedPages(pid: number, memory: FileHandle): Promise<readonly PageRun[]> {
  const [{ dev, ino, size }, path] = await Promise.all([memory.stat(), readlink(`/proc/self/fd/${memory.fd}`)]);
  const start = mappingOf({ dev, ino, path }, await readFile(`/proc/${pid}/maps`, 'utf8'));
  if (start === null) return [];
  const entries = Buffer.alloc((size / PAGE_BYTES) * PAGEMAP_ENTRY_BYTES);
  const pagemap = await open(`/proc/${pid}/pagemap`, 'r');
  try {
    await pagemap.read(entries, 0, entries.length, (start / PAGE_BYTES) * PAGEMAP_ENTRY_BYTES);
  } finally {
    await pagemap.close();
  }
  const runs: { firstPage: number; pages: number }[] = [];
  for (let page = 0; page < size / PAGE_BYTES; page += 1) {
    if ((entries.readUInt8(page * PAGEMAP_ENTRY_BYTES + 7) & 0x80) === 0) continue;
    const last = runs.at(-1);
    if (last !== undefined && page - (last.firstPage + last.pages) <= GAP_PAGES) last.pages = page + 1 - last.firstPage;
    else runs.push({ firstPage: page, pages: 1 });
  }
  return runs;
}

/**
 * Files of different file systems may have the same inode number. Where a file system shows another device in `maps` than in `stat`, as
 * overlayfs and btrfs do, the path tells.
 *
 * @param maps what /proc/PID/maps says.
 * @returns the address at which the file is mapped; null: it is not.
 */
export function mappingOf(
  file: { readonly dev: number; readonly ino: number; readonly path: string },
  maps: string,
): number | null {
  for (const line of maps.split('\n')) {
    const [, start = '', device = '', inode, path] = /^([0-9a-f]+)-\S+ \S+ \S+ (\S+) (\d+) +(.*)$/.exec(line) ?? [];
    if (inode !== String(file.ino)) continue;
    if (device === deviceName(file.dev) || path === file.path) return Number.parseInt(start, 16);
  }
  return null;
}

/** Major and minor number as the kernel prints them. */
function deviceName(dev: number): string {
  const major = (dev >>> 8) & 0xfff;
  const minor = (dev & 0xff) | ((dev >>> 12) & 0xfff00);
  return [major, minor].map((number) => number.toString(16).padStart(2, '0')).join(':');
}

/** Brings pages into the page cache, unless a few of them show that they are there already. */
export async function readAhead(memory: FileHandle, runs: readonly PageRun[]): Promise<void> {
  if (isCached(memory, runs)) return;
  const pieces: { readonly position: number; readonly bytes: number }[] = [];
  for (const { firstPage, pages } of runs) {
    const end = (firstPage + pages) * PAGE_BYTES;
    for (let position = firstPage * PAGE_BYTES; position < end; position += READ_BYTES) {
      pieces.push({ position, bytes: Math.min(READ_BYTES, end - position) });
    }
  }
  const readers = Array.from({ length: READS_AT_ONCE }, async () => {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    for (let piece = pieces.shift(); piece !== undefined; piece = pieces.shift()) {
      await memory.read(buffer, 0, piece.bytes, piece.position);
    }
  });
  await Promise.all(readers);
}

/** Reads a few pages and looks how long that takes: a disk is slower than memory by far. */
function isCached(memory: FileHandle, runs: readonly PageRun[]): boolean {
  const page = Buffer.allocUnsafe(PAGE_BYTES);
  for (let i = 0; i < PROBES; i += 1) {
    const run = runs[Math.floor(((i + 0.5) * runs.length) / PROBES)];
    if (run === undefined) continue;
    const before = performance.now();
    readSync(memory.fd, page, 0, PAGE_BYTES, run.firstPage * PAGE_BYTES);
    if ((performance.now() - before) * 1000 > CACHED_READ_US) return false;
  }
  return true;
}
