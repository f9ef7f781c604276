/**
 * Runs in snapctr. The files that one function's log consists of, oldest first:
 *
 * ```
 *   DIRECTORY/00001764345600000.jsonl      by the time, in ms, at which it was begun
 * ```
 *
 * A file is written to its end by one process; the next one begins another. Only whole files are removed.
 */
import { open, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf } from '../storage/error-code.ts';
import { makeDirectory } from '../storage/make-directory.ts';

/** A file that has become so large is the last one no more, in bytes. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;
const NAME = /^(\d{17})\.jsonl$/;

export interface LogFile {
  readonly path: string;
  /** When it was begun, in ms since 1970; tells it from the others. */
  readonly begunMs: number;
  bytes: number;
  /** The latest time at which it was written to, as the file system has it as well: no event in it is later. */
  lastMs: number;
}

export class LogFiles {
  readonly #directory: string;
  readonly #files: LogFile[] = [];
  /** Whether the last file is this process's own. */
  #isOpen = false;
  #bytes = 0;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /** @param directory need not be there. @throws NodeJS.ErrnoException */
  static async find(directory: string): Promise<LogFiles> {
    const found = new LogFiles(directory);
    const names = await readdir(directory).catch((error: unknown) => {
      if (codeOf(error) === 'ENOENT') return [];
      throw error;
    });
    for (const name of names.sort()) {
      const [, begun] = NAME.exec(name) ?? [];
      if (begun === undefined) continue;
      const path = join(directory, name);
      const { size, mtimeMs } = await stat(path);
      found.#files.push({ path, begunMs: Number(begun), bytes: size, lastMs: mtimeMs });
      found.#bytes += size;
    }
    return found;
  }

  /** Oldest first. */
  get files(): readonly LogFile[] {
    return this.#files;
  }

  get bytes(): number {
    return this.#bytes;
  }

  #pathOf(begunMs: number): string {
    return join(this.#directory, `${String(begunMs).padStart(17, '0')}.jsonl`);
  }

  /** Writes whole lines at the end. @param nowMs ms since 1970. @throws NodeJS.ErrnoException, such as of a full disk. */
  async append(lines: Buffer, nowMs: number): Promise<void> {
    const last = this.#files.at(-1);
    const goesOn = this.#isOpen && last !== undefined && last.bytes < MAX_FILE_BYTES;
    const file = goesOn ? last : await this.#next(nowMs);
    const handle = await open(file.path, 'a', 0o600);
    if (!goesOn) this.#files.push(file);
    this.#isOpen = true;
    try {
      const isSetBack = nowMs < file.lastMs;
      file.lastMs = Math.max(file.lastMs, nowMs);
      await handle.writeFile(lines);
      this.#grow(file, lines.length);
      if (isSetBack) await handle.utimes(file.lastMs / 1000, file.lastMs / 1000);
    } catch (error) {
      const { size } = await handle.stat().catch(() => ({ size: file.bytes }));
      // A part is there: what follows must not be taken for the rest of its line.
      if (size !== file.bytes) this.#isOpen = false;
      this.#grow(file, size - file.bytes);
      throw error;
    } finally {
      await handle.close();
    }
  }

  /** Removes the oldest file. @throws NodeJS.ErrnoException */
  async removeOldest(): Promise<void> {
    const [oldest] = this.#files;
    if (oldest === undefined) return;
    if (this.#files.length === 1) this.#isOpen = false;
    await rm(oldest.path, { force: true });
    this.#files.shift();
    this.#bytes -= oldest.bytes;
    // Others may have put something there.
    if (this.#files.length === 0) await rmdir(this.#directory).catch(() => undefined);
  }

  #grow(file: LogFile, bytes: number): void {
    file.bytes += bytes;
    this.#bytes += bytes;
  }

  /** The file after the last one; it is not there yet. */
  async #next(nowMs: number): Promise<LogFile> {
    await makeDirectory(this.#directory, 0o700);
    // Also where the clock was set back.
    const begunMs = Math.max(Math.floor(nowMs), (this.#files.at(-1)?.begunMs ?? 0) + 1);
    return { path: this.#pathOf(begunMs), begunMs, bytes: 0, lastMs: nowMs };
  }
}
