/** Memories, and layers made of them, for the tests of snapshots. */
import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PAGE_BYTES, type Layer, type LayerStamp } from '../../../src/firerunner/snapshots/layer.ts';
import { openPrivateMemory } from '../../../src/firerunner/snapshots/memory.ts';
import type { EnsureOptions, LayerDraft, SnapshotStore } from '../../../src/firerunner/snapshots/store.ts';

const made: string[] = [];
process.once('exit', () => {
  for (const directory of made) rmSync(directory, { recursive: true, force: true });
});

/** A new directory that is gone when the tests of the file have run. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'snapfaas-snapshots-'));
  made.push(directory);
  return directory;
}

/** `pages` pages: zeros, random bytes that `seed` determines, or those of the memory below. */
export interface Stretch {
  readonly kind: 'zero' | 'data' | 'same';
  readonly pages: number;
  readonly seed: number;
}

export function memoryOf(stretches: readonly Stretch[], below?: Buffer): Buffer {
  const pages = stretches.reduce((sum, stretch) => sum + stretch.pages, 0);
  const memory = Buffer.alloc(below?.length ?? pages * PAGE_BYTES);
  below?.copy(memory);
  let at = 0;
  for (const { kind, pages: count, seed } of stretches) {
    const end = Math.min(at + count * PAGE_BYTES, memory.length);
    if (kind === 'zero') memory.fill(0, at, end);
    if (kind === 'data') randomBytes(seed, end - at).copy(memory, at);
    at = end;
  }
  return memory;
}

/** The same bytes for the same seed. */
export function randomBytes(seed: number, bytes: number): Buffer {
  return createHash('shake256', { outputLength: Math.max(1, bytes) })
    .update(String(seed))
    .digest()
    .subarray(0, bytes);
}

export interface Saved {
  readonly memory: Buffer;
  readonly state: Buffer;
}

/** Builds a layer as a VMM would: the memory in the draft's directory, the state beside. */
export async function fill(draft: LayerDraft, { memory, state }: Saved, base: Layer | null): Promise<void> {
  const path = join(draft.directory, 'memory');
  await writeFile(path, memory);
  await writeFile(draft.statePath, state);
  if (base === null) return draft.writeMemory(path, null);
  const source = await openPrivateMemory({ directory: draft.directory, isNamed: false }, [base]);
  try {
    await draft.writeMemory(path, source);
  } finally {
    await source.handle.close();
  }
}

export function ensure(
  store: SnapshotStore,
  stamp: LayerStamp,
  saved: Saved,
  base: Layer | null = null,
  options: EnsureOptions = {},
): Promise<Layer> {
  return store.ensure(base === null ? 'base' : 'function', stamp, (draft) => fill(draft, saved, base), options);
}

/** The memory that layers describe. */
export async function readMemory(directory: string, layers: readonly Layer[]): Promise<Buffer> {
  const { handle, bytes } = await openPrivateMemory({ directory: directory, isNamed: false }, layers);
  try {
    const memory = Buffer.alloc(bytes);
    for (let done = 0; done < bytes;) {
      const { bytesRead } = await handle.read(memory, done, bytes - done, done);
      if (bytesRead === 0) throw new Error('the memory is too short');
      done += bytesRead;
    }
    return memory;
  } finally {
    await handle.close();
  }
}

/** A base and a function on it, of 40 pages, that `seed` determines. */
export function sample(seed: number): { readonly base: Saved; readonly fn: Saved } {
  const base = memoryOf([
    { kind: 'data', pages: 7, seed },
    { kind: 'zero', pages: 12, seed },
    { kind: 'data', pages: 9, seed: seed + 1 },
    { kind: 'zero', pages: 12, seed },
  ]);
  const fn = memoryOf(
    [
      { kind: 'same', pages: 5, seed },
      { kind: 'zero', pages: 1, seed },
      { kind: 'data', pages: 3, seed: seed + 2 },
      { kind: 'same', pages: 13, seed },
      { kind: 'data', pages: 1, seed: seed + 3 },
      { kind: 'zero', pages: 2, seed },
      { kind: 'same', pages: 12, seed },
      { kind: 'data', pages: 3, seed: seed + 4 },
    ],
    base,
  );
  return {
    base: { memory: base, state: randomBytes(seed + 5, 2000) },
    fn: { memory: fn, state: randomBytes(seed + 6, 3000) },
  };
}
