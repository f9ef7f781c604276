/** Runs in snapctr. How full the file system of a directory is, looked at now and then: a disk that hangs holds up nobody who asks. */
import { statfs } from 'node:fs/promises';
import { Periodic } from './periodic.ts';

const EVERY_MS = 10_000;
/** With less than both a disk counts as full. */
const FULL_BYTES = 256 * 1024 * 1024;
const FULL_SHARE = 0.02;
/** With less than both somebody should look after it; the share is that of the alert rule. */
const LOW_BYTES = 10 * 1024 * 1024 * 1024;
const LOW_SHARE = 0.1;

export interface Space {
  /** For users without privileges. */
  readonly freeBytes: number;
  readonly sizeBytes: number;
}

type Statfs = (
  directory: string,
) => Promise<{ readonly bavail: number; readonly bsize: number; readonly blocks: number }>;

export class DiskSpace {
  readonly name: string;
  readonly directory: string;
  #latest: Space | null = null;
  readonly #statfs: Statfs;
  readonly #looks = new Periodic(EVERY_MS, () => this.#look());

  /** @param name of what is kept there, such as "data". */
  constructor(name: string, directory: string, statfsOf: Statfs = statfs) {
    this.name = name;
    this.directory = directory;
    this.#statfs = statfsOf;
  }

  /** Null: it was not looked at yet, or is not there. */
  get latest(): Space | null {
    return this.#latest;
  }

  /** Why nothing more should be written there; null: there is room. */
  get problem(): string | null {
    return this.#hasLess(FULL_BYTES, FULL_SHARE) ? this.#words('is full') : null;
  }

  /** What somebody should know before it is full; null: nothing, or it is full. */
  get warning(): string | null {
    return this.problem === null && this.#hasLess(LOW_BYTES, LOW_SHARE) ? this.#words('is nearly full') : null;
  }

  #hasLess(bytes: number, share: number): boolean {
    return this.#latest !== null && this.#latest.freeBytes < Math.min(bytes, this.#latest.sizeBytes * share);
  }

  #words(what: string): string {
    const free = Math.floor((this.#latest?.freeBytes ?? 0) / (1024 * 1024));
    return `the disk of ${this.directory} (${this.name}) ${what}: ${free} MB are free`;
  }

  /** Resolves after the first look. */
  start(): Promise<void> {
    return this.#looks.start();
  }

  close(): void {
    this.#looks.close();
  }

  /** At once, unless somebody looks just now. */
  look(): Promise<void> {
    return this.#looks.run();
  }

  async #look(): Promise<void> {
    try {
      const { bavail, bsize, blocks } = await this.#statfs(this.directory);
      this.#latest = { freeBytes: bavail * bsize, sizeBytes: blocks * bsize };
    } catch {
      this.#latest = null;
    }
  }
}
