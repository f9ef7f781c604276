/**
 * Runs in the fake Firecracker. The guest's memory, as far as it shows in a snapshot: what the guest is doing, as JSON,
 * and pages of random bytes all over it whose digests are in the state file, so that a lost or stale page is noticed.
 *
 * ```
 *   page 0 … · pattern · … 256: state of the guest, up to 2 MiB … · pattern · pattern · … (sparse in between)
 * ```
 *
 * Every second pattern page, and what changed of the state, is "dirty" each time the guest has run.
 */
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';

export const PAGE_BYTES = 4096;
const PATTERN_PAGES = 32;
const STATE_PAGE = 256;
const STATE_PAGES = 512;
/** Length of the JSON, u32. */
const STATE_PREFIX_BYTES = 4;
const MIB = 1024 * 1024;

/** Digests by page number; the state's counts as that of its first page. */
export type MemoryDigests = Readonly<Record<string, string>>;

export class GuestMemory {
  readonly memoryMib: number;
  readonly #pages = new Map<number, Buffer>();
  /** Pages written since the last snapshot; null: all of them. */
  #dirty: Set<number> | null;
  #statePages = 0;

  private constructor(memoryMib: number, dirty: Set<number> | null) {
    this.memoryMib = memoryMib;
    this.#dirty = dirty;
  }

  /** The memory of a guest that boots. */
  static boot(memoryMib: number): GuestMemory {
    const memory = new GuestMemory(memoryMib, null);
    for (const page of patternPages(memoryMib)) memory.#pages.set(page, randomBytes(PAGE_BYTES));
    return memory;
  }

  /** @throws Error if the file is not the memory that the state file was saved with. */
  static load(fd: number, memoryMib: number, digests: MemoryDigests): GuestMemory {
    const memory = new GuestMemory(memoryMib, new Set());
    const { size } = fstatSync(fd);
    if (size !== memoryMib * MIB) {
      throw new Error(`the memory file has ${size} bytes, the state file was saved with ${memoryMib * MIB}`);
    }
    for (const page of patternPages(memoryMib)) memory.#pages.set(page, readPages(fd, page, 1));
    const prefix = readPages(fd, STATE_PAGE, 1).readUInt32BE(0);
    memory.#statePages = Math.min(pagesOf(prefix), STATE_PAGES);
    const state = readPages(fd, STATE_PAGE, memory.#statePages);
    for (let at = 0; at < memory.#statePages; at++) memory.#pages.set(STATE_PAGE + at, pageOf(state, at));
    const found = memory.digests();
    for (const [page, digest] of Object.entries(digests)) {
      if (found[page] !== digest) {
        throw new Error(`page ${page} of the memory file is not the one that the state file was saved with`);
      }
    }
    return memory;
  }

  get state(): unknown {
    const bytes = this.#stateBytes();
    const length = bytes.readUInt32BE(0);
    return JSON.parse(bytes.toString('utf8', STATE_PREFIX_BYTES, STATE_PREFIX_BYTES + length)) as unknown;
  }

  set state(value: unknown) {
    const json = Buffer.from(JSON.stringify(value));
    const count = pagesOf(json.length);
    if (count > STATE_PAGES) throw new Error(`the guest's state has ${json.length} bytes, which is too much`);
    const bytes = Buffer.alloc(Math.max(count, this.#statePages) * PAGE_BYTES);
    bytes.writeUInt32BE(json.length, 0);
    json.copy(bytes, STATE_PREFIX_BYTES);
    for (let at = 0; at < bytes.length / PAGE_BYTES; at++) this.#write(STATE_PAGE + at, pageOf(bytes, at));
    this.#statePages = bytes.length / PAGE_BYTES;
  }

  /** The guest runs: some of its pages change. */
  touch(): void {
    for (const page of patternPages(this.memoryMib).filter((_, index) => index % 2 === 1)) {
      this.#write(page, randomBytes(PAGE_BYTES));
    }
  }

  digests(): MemoryDigests {
    const entries = patternPages(this.memoryMib).map((page) => [page, digestOf(this.#page(page))] as const);
    return Object.fromEntries([...entries, [STATE_PAGE, digestOf(this.#stateBytes())]]);
  }

  /** Writes all of the memory, zeros included: no holes are left. Returns the number of pages with something in them. */
  writeFull(path: string): number {
    const fd = openForWriting(path);
    try {
      if (fstatSync(fd).size !== this.memoryMib * MIB) ftruncateSync(fd, 0);
      const zeros = Buffer.alloc(MIB);
      for (let at = 0; at < this.memoryMib; at += 1) writeSync(fd, zeros, 0, MIB, at * MIB);
      writePages(fd, this.#pages);
    } finally {
      closeSync(fd);
    }
    this.#dirty = new Set();
    return this.#pages.size;
  }

  /**
   * Writes the pages that changed since the last snapshot: onto a file of the memory's size, else into an empty one.
   * Returns their number.
   */
  writeDiff(path: string): number {
    const bytes = this.memoryMib * MIB;
    const dirty = this.#dirty;
    const pages = dirty === null ? this.#pages : new Map([...dirty].map((page) => [page, this.#page(page)]));
    const fd = openForWriting(path);
    try {
      if (fstatSync(fd).size !== bytes) {
        ftruncateSync(fd, 0);
        ftruncateSync(fd, bytes);
      }
      writePages(fd, pages);
    } finally {
      closeSync(fd);
    }
    this.#dirty = new Set();
    return pages.size;
  }

  #write(page: number, bytes: Buffer): void {
    if (this.#pages.get(page)?.equals(bytes) === true) return;
    this.#pages.set(page, bytes);
    this.#dirty?.add(page);
  }

  #page(page: number): Buffer {
    return this.#pages.get(page) ?? Buffer.alloc(PAGE_BYTES);
  }

  #stateBytes(): Buffer {
    return Buffer.concat(Array.from({ length: Math.max(1, this.#statePages) }, (_, at) => this.#page(STATE_PAGE + at)));
  }
}

/** A digest of what must not change in a memory file while a machine has it mapped. */
export function patternDigest(fd: number, memoryMib: number): string {
  const hash = createHash('sha1');
  for (const page of patternPages(memoryMib)) hash.update(readPages(fd, page, 1));
  return hash.digest('hex');
}

function patternPages(memoryMib: number): number[] {
  const all = (memoryMib * MIB) / PAGE_BYTES;
  const pages = Array.from({ length: PATTERN_PAGES }, (_, index) => Math.floor(((index + 0.5) * all) / PATTERN_PAGES));
  return pages.filter((page) => page < STATE_PAGE || page >= STATE_PAGE + STATE_PAGES);
}

function pagesOf(jsonBytes: number): number {
  return Math.ceil((STATE_PREFIX_BYTES + jsonBytes) / PAGE_BYTES);
}

function pageOf(bytes: Buffer, index: number): Buffer {
  return bytes.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES);
}

function digestOf(bytes: Buffer): string {
  return createHash('sha1').update(bytes).digest('hex');
}

function readPages(fd: number, page: number, count: number): Buffer {
  const bytes = Buffer.alloc(count * PAGE_BYTES);
  const found = readSync(fd, bytes, 0, bytes.length, page * PAGE_BYTES);
  if (found !== bytes.length) throw new Error(`the memory file ends within page ${page}`);
  return bytes;
}

function writePages(fd: number, pages: ReadonlyMap<number, Buffer>): void {
  for (const [page, bytes] of pages) writeSync(fd, bytes, 0, PAGE_BYTES, page * PAGE_BYTES);
}

function openForWriting(path: string): number {
  try {
    return openSync(path, 'r+');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return openSync(path, 'wx', 0o666);
  }
}
