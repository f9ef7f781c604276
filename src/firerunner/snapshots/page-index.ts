/**
 * Runs in firerunner. The file `index` of a layer: runs of pages, in order and without overlap.
 *
 * ```
 *   u32 LE first page │ u32 LE number of pages │ u32 LE 0: in `pages`, after those of the runs before; 1: zeros
 * ```
 *
 * A page in no run is the base's; without a base it is zeros.
 */
import { DamagedLayerError, PAGE_BYTES, readPart, type Layer } from './layer.ts';

const RECORD_BYTES = 12;

export interface IndexRun {
  readonly firstPage: number;
  readonly pages: number;
  readonly zero: boolean;
}

/** Collects runs page by page, in order. */
export class IndexBuilder {
  readonly #runs: { firstPage: number; pages: number; zero: boolean }[] = [];

  add(page: number, zero: boolean): void {
    const last = this.#runs.at(-1);
    if (last?.zero === zero && last.firstPage + last.pages === page) last.pages += 1;
    else this.#runs.push({ firstPage: page, pages: 1, zero });
  }

  /** @returns the contents of the file. */
  bytes(): Buffer {
    const bytes = Buffer.alloc(this.#runs.length * RECORD_BYTES);
    this.#runs.forEach(({ firstPage, pages, zero }, i) => {
      bytes.writeUInt32LE(firstPage, i * RECORD_BYTES);
      bytes.writeUInt32LE(pages, i * RECORD_BYTES + 4);
      bytes.writeUInt32LE(zero ? 1 : 0, i * RECORD_BYTES + 8);
    });
    return bytes;
  }
}

/** Reads and checks a layer's index. @throws DamagedLayerError */
export async function readIndex(layer: Layer): Promise<readonly IndexRun[]> {
  return parseIndex(await readPart(layer, 'index'), layer);
}

/** @throws DamagedLayerError if these are not runs of the layer's memory and pages. */
export function parseIndex(bytes: Buffer, layer: Layer): readonly IndexRun[] {
  const damaged = (problem: string): never => {
    throw new DamagedLayerError(layer.directory, `index ${problem}`);
  };
  if (bytes.length % RECORD_BYTES !== 0) damaged(`has ${bytes.length} bytes, which is no number of records`);
  const runs: IndexRun[] = [];
  let end = 0;
  let dataPages = 0;
  for (let at = 0; at < bytes.length; at += RECORD_BYTES) {
    const firstPage = bytes.readUInt32LE(at);
    const pages = bytes.readUInt32LE(at + 4);
    const kind = bytes.readUInt32LE(at + 8);
    if (firstPage < end || pages === 0 || kind > 1) damaged(`has a wrong record at byte ${at}`);
    end = firstPage + pages;
    if (kind === 0) dataPages += pages;
    runs.push({ firstPage, pages, zero: kind === 1 });
  }
  if (end * PAGE_BYTES > layer.memoryBytes) damaged('names pages beyond the memory');
  if (dataPages * PAGE_BYTES !== layer.parts.pages.bytes) damaged('names other pages than there are');
  return runs;
}
