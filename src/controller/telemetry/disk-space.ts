/** Runs in snapctr. How full the file system of a directory is, looked at now and then: a disk that hangs holds up nobody who asks. */
import { statfs } from 'node:fs/promises';

const EVERY_MS = 10_000;
/** With less than both a disk counts as full. */
const FULL_BYTES = 256 * 1024 * 1024;
const FULL_SHARE = 0.02;

export interface Space {
  /** For users without privileges. */
  readonly freeBytes: number;
  readonly sizeBytes: number;
}

export class DiskSpace {
  readonly name: string;
  readonly directory: string;
  #latest: Space | null = null;
  #timer: NodeJS.Timeout | null = null;
  #isLooking = false;

  /** @param name of what is kept there, such as "data". */
  constructor(name: string, directory: string) {
    this.name = name;
    this.directory = directory;
  }

  /** Null: it was not looked at yet, or is not there. */
  get latest(): Space | null {
    return this.#latest;
  }

  /** Why nothing more should be written there; null: there is room. */
  get problem(): string | null {
    if (this.#latest === null) return null;
    const { freeBytes, sizeBytes } = this.#latest;
    if (freeBytes >= Math.min(FULL_BYTES, sizeBytes * FULL_SHARE)) return null;
    const free = Math.floor(freeBytes / (1024 * 1024));
    return `the disk of ${this.directory} (${this.name}) is full: ${free} MB are free`;
  }

  /** Resolves after the first look. */
  start(): Promise<void> {
    this.#timer ??= setInterval(() => void this.look(), EVERY_MS).unref();
    return this.look();
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
  }

  /** One at a time. */
  async look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      const { bavail, bsize, blocks } = await statfs(this.directory);
      this.#latest = { freeBytes: bavail * bsize, sizeBytes: blocks * bsize };
    } catch {
      this.#latest = null;
    } finally {
      this.#isLooking = false;
    }
  }
}
