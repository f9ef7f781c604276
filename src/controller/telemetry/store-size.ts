/** Runs in snapctr. How large the layers of a snapshot store are, looked at now and then: nobody who asks waits for its disk. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Periodic } from './periodic.ts';

const EVERY_MS = 60_000;

export class StoreSize {
  readonly #directory: string;
  #bytes: number | null = null;
  readonly #looks = new Periodic(EVERY_MS, () => this.#look());

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Of all files of all layers; null: it was not looked at yet, or is not there. */
  get bytes(): number | null {
    return this.#bytes;
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
    const names = await readdir(this.#directory).catch(() => null);
    let bytes = 0;
    // One after the other: nothing depends on how soon it is known.
    for (const name of names ?? []) bytes += await bytesIn(join(this.#directory, name));
    this.#bytes = names === null ? null : bytes;
  }
}

/** Of the files in a directory; 0 for what is none, or is gone by now. */
async function bytesIn(directory: string): Promise<number> {
  const names = await readdir(directory).catch(() => []);
  let bytes = 0;
  for (const name of names)
    bytes += await stat(join(directory, name)).then(
      ({ size }) => size,
      () => 0,
    );
  return bytes;
}
