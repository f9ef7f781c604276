/**
 * Runs in the fake Firecracker. A memory file that a real VMM would have mapped: whoever changes it changes a guest that
 * runs. The fake does not map it but looks at it, before anything is asked of the guest.
 */
import { fstatSync, statSync, type BigIntStats } from 'node:fs';
import { patternDigest } from './guest-memory.ts';

/** A guest uses its memory all the time; the fake looks this often, in ms. */
const WATCH_MS = 20;

export class MappedFile {
  readonly #fd: number;
  readonly #memoryMib: number;
  readonly #mapped: BigIntStats;
  readonly #digest: string;

  /** @param fd stays open for the life of the machine. */
  constructor(fd: number, memoryMib: number) {
    this.#fd = fd;
    this.#memoryMib = memoryMib;
    this.#mapped = fstatSync(fd, { bigint: true });
    this.#digest = patternDigest(fd, memoryMib);
  }

  /** Calls back once the file is shorter than what is mapped: the guest's next access to what is missing ends the process. */
  watch(onShorter: (change: string) => void): void {
    const timer = setInterval(() => {
      const { size } = fstatSync(this.#fd, { bigint: true });
      if (size >= this.#mapped.size) return;
      clearInterval(timer);
      onShorter(`its size went from ${this.#mapped.size} to ${size} bytes`);
    }, WATCH_MS);
    timer.unref();
  }

  /** What was changed since; null if nothing was. */
  change(): string | null {
    const now = fstatSync(this.#fd, { bigint: true });
    if (now.size !== this.#mapped.size) return `its size went from ${this.#mapped.size} to ${now.size} bytes`;
    if (now.mtimeNs !== this.#mapped.mtimeNs) return 'it was written to';
    return patternDigest(this.#fd, this.#memoryMib) === this.#digest ? null : 'its contents changed';
  }

  /** Whether a path leads to this very file. */
  is(path: string): boolean {
    const found = statSync(path, { bigint: true, throwIfNoEntry: false });
    return found !== undefined && found.ino === this.#mapped.ino && found.dev === this.#mapped.dev;
  }
}
