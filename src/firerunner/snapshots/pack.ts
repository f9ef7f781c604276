/** Runs in firerunner. Makes `index` and `pages` of a layer from the memory of a stopped VM. */
import { createHash } from 'node:crypto';
import { open, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256 } from '../../storage/digest.ts';
import { PAGE_BYTES, type PartDescription } from './layer.ts';
import { writeFully, type MemorySource } from './memory.ts';
import { IndexBuilder } from './page-index.ts';

const CHUNK_BYTES = 1024 * 1024;
/** Most of a memory is as it was: that is found out for this much at once. */
const BLOCK_BYTES = 64 * 1024;
/** Hashed at once; without instructions for SHA this takes a millisecond, during which nothing else happens. */
const OUTPUT_BYTES = 512 * 1024;
const ZEROS = Buffer.alloc(CHUNK_BYTES);

export interface PackedMemory {
  readonly memoryBytes: number;
  readonly index: PartDescription;
  readonly pages: PartDescription;
}

/**
 * Writes the pages of the file `memoryPath` that differ from `base`, or that are not zeros, to `directory`.
 *
 * @throws Error if the file is no memory, or has another size than the base's; errors of reading and writing as they come.
 */
export async function packMemory(
  directory: string,
  memoryPath: string,
  base: MemorySource | null,
): Promise<PackedMemory> {
  const memory = await open(memoryPath, 'r');
  try {
    const { size } = await memory.stat();
    if (size === 0 || size % PAGE_BYTES !== 0) throw new Error(`${memoryPath} has ${size} bytes: not a VM's memory`);
    const baseBytes = base?.layers.at(-1)?.memoryBytes;
    if (baseBytes !== undefined && size !== baseBytes) {
      throw new Error(`${memoryPath} has ${size} bytes, the memory it is compared with ${baseBytes}`);
    }
    const index = new IndexBuilder();
    const output = await PageWriter.create(join(directory, 'pages'));
    try {
      await pack(memory, size, base, index, output);
      await output.flush();
    } finally {
      await output.close();
    }
    const indexBytes = index.bytes();
    await writeFile(join(directory, 'index'), indexBytes, { mode: 0o600, flag: 'wx' });
    return {
      memoryBytes: size,
      index: { sha256: sha256(indexBytes), bytes: indexBytes.length },
      pages: output.describe(),
    };
  } finally {
    await memory.close();
  }
}

async function pack(
  memory: FileHandle,
  size: number,
  base: MemorySource | null,
  index: IndexBuilder,
  output: PageWriter,
): Promise<void> {
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  const baseChunk = base === null ? ZEROS : Buffer.allocUnsafe(CHUNK_BYTES);
  for (let position = 0; position < size; position += CHUNK_BYTES) {
    const length = Math.min(CHUNK_BYTES, size - position);
    await Promise.all([
      readFully(memory, chunk.subarray(0, length), position),
      base === null ? undefined : readFully(base.handle, baseChunk.subarray(0, length), position),
    ]);
    for (let block = 0; block < length; block += BLOCK_BYTES) {
      const blockEnd = Math.min(block + BLOCK_BYTES, length);
      if (isEqual(chunk, baseChunk, block, blockEnd)) continue;
      for (let at = block; at < blockEnd; at += PAGE_BYTES) {
        const end = at + PAGE_BYTES;
        if (isEqual(chunk, baseChunk, at, end)) continue;
        const zero = isEqual(chunk, ZEROS, at, end);
        index.add((position + at) / PAGE_BYTES, zero);
        if (!zero && output.add(chunk, at)) await output.flush();
      }
    }
  }
}

function isEqual(left: Buffer, right: Buffer, from: number, to: number): boolean {
  return left.compare(right, from, to, from, to) === 0;
}

async function readFully(file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesRead } = await file.read(bytes, done, bytes.length - done, position + done);
    if (bytesRead === 0) throw new Error('the memory of a VM became shorter while it was read');
    done += bytesRead;
  }
}

/** Appends pages to a file, and hashes them. */
class PageWriter {
  readonly #file: FileHandle;
  readonly #hash = createHash('sha256');
  readonly #buffer = Buffer.allocUnsafe(OUTPUT_BYTES);
  #filled = 0;
  #written = 0;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  static async create(path: string): Promise<PageWriter> {
    return new PageWriter(await open(path, 'wx', 0o600));
  }

  /** @returns whether it has to be flushed before the next page. */
  add(source: Buffer, at: number): boolean {
    this.#filled += source.copy(this.#buffer, this.#filled, at, at + PAGE_BYTES);
    return this.#filled === OUTPUT_BYTES;
  }

  async flush(): Promise<void> {
    const bytes = this.#buffer.subarray(0, this.#filled);
    const writing = writeFully(this.#file.fd, bytes, this.#written);
    this.#hash.update(bytes);
    await writing;
    this.#written += this.#filled;
    this.#filled = 0;
  }

  /** When all is flushed; once. */
  describe(): PartDescription {
    return { sha256: this.#hash.digest('hex'), bytes: this.#written };
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
