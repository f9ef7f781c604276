/** Runs in firerunner. The pages of one layer, read once from front to back and compared with their digest on the way. */
import { createHash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { DamagedLayerError, PAGE_BYTES, unreadable, type Layer } from './layer.ts';
import { readIndex, type IndexRun } from './page-index.ts';

const BLOCK_BYTES = 1024 * 1024;

/** What a page of a chunk is. */
export const ZERO = 0;
export const DATA = 1;

export class PageStream {
  readonly #layer: Layer;
  readonly #runs: readonly IndexRun[];
  readonly #file: FileHandle;
  readonly #hash = createHash('sha256');
  /** Two blocks: while one is hashed and copied from, the other is read. */
  readonly #blocks = [Buffer.allocUnsafe(BLOCK_BYTES), Buffer.allocUnsafe(BLOCK_BYTES)] as const;
  #current: Buffer = Buffer.alloc(0);
  #used = 0;
  #position = 0;
  #next: Promise<Buffer> | null = null;
  #nextBlock: 0 | 1 = 0;
  #run = 0;

  private constructor(layer: Layer, runs: readonly IndexRun[], file: FileHandle) {
    this.#layer = layer;
    this.#runs = runs;
    this.#file = file;
    this.#readNext();
  }

  /** Reads and checks the index. @throws DamagedLayerError */
  static async open(layer: Layer): Promise<PageStream> {
    const runs = await readIndex(layer);
    const file = await open(join(layer.directory, 'pages'), 'r').catch((error: unknown) => {
      throw unreadable(layer.directory, 'pages', error);
    });
    return new PageStream(layer, runs, file);
  }

  /** Whether the layer names a page below `page` that `fill` has not been asked for. */
  hasPagesBefore(page: number): boolean {
    const run = this.#runs[this.#run];
    return run !== undefined && run.firstPage < page;
  }

  /**
   * Writes this layer's pages over those of the layers below.
   *
   * @param firstPage of the chunk; it grows from call to call.
   * @param chunk takes the bytes of its DATA pages.
   * @param kinds DATA or ZERO, a byte for each page of the chunk.
   * @throws DamagedLayerError if the file ends too early.
   */
  async fill(firstPage: number, chunk: Buffer, kinds: Buffer): Promise<void> {
    const end = firstPage + kinds.length;
    for (let run = this.#runs[this.#run]; run !== undefined && run.firstPage < end; run = this.#runs[this.#run]) {
      const runEnd = run.firstPage + run.pages;
      const from = Math.max(run.firstPage, firstPage) - firstPage;
      const to = Math.min(runEnd, end) - firstPage;
      kinds.fill(run.zero ? ZERO : DATA, from, to);
      if (!run.zero) await this.#copy(chunk, from * PAGE_BYTES, to * PAGE_BYTES);
      if (runEnd > end) return;
      this.#run += 1;
    }
  }

  /** Reads what is left. @throws DamagedLayerError if the pages are not those that were written. */
  async finish(): Promise<void> {
    while (this.#next !== null) await this.#advance();
    const { bytesRead } = await this.#file.read(Buffer.alloc(1), 0, 1, this.#position);
    if (bytesRead !== 0 || this.#hash.digest('hex') !== this.#layer.parts.pages.sha256) {
      throw new DamagedLayerError(this.#layer.directory, 'pages has other contents than were written');
    }
  }

  async close(): Promise<void> {
    await this.#next?.catch(() => undefined);
    await this.#file.close();
  }

  async #copy(chunk: Buffer, from: number, to: number): Promise<void> {
    for (let at = from; at < to;) {
      if (this.#used === this.#current.length) await this.#advance();
      const copied = this.#current.copy(chunk, at, this.#used, this.#used + to - at);
      this.#used += copied;
      at += copied;
    }
  }

  async #advance(): Promise<void> {
    // The index has as many pages as the manifest says, so there always is a next block.
    if (this.#next === null) throw new DamagedLayerError(this.#layer.directory, 'pages is too short');
    this.#current = await this.#next;
    this.#used = 0;
    this.#next = null;
    this.#readNext();
    this.#hash.update(this.#current);
  }

  #readNext(): void {
    const bytes = Math.min(BLOCK_BYTES, this.#layer.parts.pages.bytes - this.#position);
    if (bytes === 0) return;
    this.#next = this.#read(this.#blocks[this.#nextBlock].subarray(0, bytes), this.#position);
    this.#nextBlock = this.#nextBlock === 0 ? 1 : 0;
    // It is awaited later, or never.
    this.#next.catch(() => undefined);
    this.#position += bytes;
  }

  async #read(block: Buffer, position: number): Promise<Buffer> {
    for (let done = 0; done < block.length;) {
      const { bytesRead } = await this.#file
        .read(block, done, block.length - done, position + done)
        .catch((error: unknown) => {
          throw unreadable(this.#layer.directory, 'pages', error);
        });
      if (bytesRead === 0) throw new DamagedLayerError(this.#layer.directory, 'pages is too short');
      done += bytesRead;
    }
    return block;
  }
}
