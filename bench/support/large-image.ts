/** A container image as large as those of real tools: a base of thousands of files, and a small layer on top that answers. */
import { execFileSync } from 'node:child_process';
import { createCipheriv, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Random } from '../../src/workload/random.ts';
import { makeTar, type TarFile, type TestImage } from '../../test/support/container-images.ts';
import { PROJECT_ROOT } from '../../test/support/snapctr.ts';

const SMALL_FILES = 5000;
const SMALL_BYTES = { median: 4096, sigma: 1.5, most: 1024 * 1024 } as const;
/** Libraries, models and the like. */
const LARGE_BYTES = { least: 2, most: 12 } as const;
const DIRECTORIES = 250;
/** Programs and texts get smaller when they are packed, pictures and archives do not: such pieces take turns in a file. */
const PIECE_BYTES = 32 * 1024;
const POOL_BYTES = 8 * 1024 * 1024;
const WORDS = 4000;
const MIB = 1024 * 1024;
/** A function with some libraries of its own. */
const TOP_BYTES = MIB;

const BOOTSTRAP = join(PROJECT_ROOT, 'test/fixtures/container/bootstrap.c');

export interface Base {
  readonly tar: Buffer;
  readonly files: number;
}

/** @param bytes of all files together. The same files for a seed. */
export function baseLayer(seed: number, bytes: number): Base {
  const random = new Random(seed);
  const below = (limit: number): number => Math.floor(random.uniform() * limit);
  const noise = noiseOf(seed, POOL_BYTES);
  const text = textOf(random, POOL_BYTES);
  const content = (size: number): Buffer => {
    const pieces: Buffer[] = [];
    for (let left = size; left > 0; left -= PIECE_BYTES) {
      const pool = pieces.length % 2 === 0 ? text : noise;
      const from = below(POOL_BYTES - PIECE_BYTES);
      pieces.push(pool.subarray(from, from + Math.min(left, PIECE_BYTES)));
    }
    return Buffer.concat(pieces);
  };
  const files: TarFile[] = [];
  let room = bytes;
  const add = (path: string, size: number): void => {
    files.push({ path, content: content(Math.min(size, room)) });
    room -= Math.min(size, room);
  };
  for (let i = 0; i < SMALL_FILES; i += 1) {
    const size = Math.min(random.logNormal(SMALL_BYTES.median, SMALL_BYTES.sigma), SMALL_BYTES.most);
    add(`usr/lib/part-${below(DIRECTORIES)}/file-${i}`, Math.round(size));
  }
  while (room > 0) {
    add(`usr/lib/large-${files.length}`, Math.round((LARGE_BYTES.least + below(LARGE_BYTES.most)) * MIB));
  }
  return { tar: makeTar(files), files: files.length };
}

/** The base with a layer that no other image has. */
export function imageOn(base: Base, program: Buffer): TestImage {
  const top = makeTar([
    { path: 'app/bootstrap', content: program, mode: 0o755 },
    { path: 'app/own', content: randomBytes(TOP_BYTES) },
  ]);
  return { layers: [base.tar, top], config: { Entrypoint: ['/app/bootstrap'], WorkingDir: '/app' } };
}

/** The program that answers, compiled. */
export function answeringProgram(): Buffer {
  const place = mkdtempSync(join(tmpdir(), 'snapfaas-bench-'));
  try {
    const program = join(place, 'bootstrap');
    execFileSync('gcc', ['-static', '-O2', '-o', program, BOOTSTRAP]);
    return readFileSync(program);
  } finally {
    rmSync(place, { recursive: true });
  }
}

function noiseOf(seed: number, bytes: number): Buffer {
  const key = Buffer.alloc(16);
  key.writeDoubleLE(seed);
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(bytes));
}

/** Words, some of which come often and most of which seldom. */
function textOf(random: Random, bytes: number): Buffer {
  const letter = (): string => String.fromCharCode(97 + Math.floor(random.uniform() * 26));
  const words = Array.from({ length: WORDS }, () => Array.from({ length: random.geometric(7) }, letter).join(''));
  const text = Buffer.alloc(bytes, ' ');
  for (let at = 0; at < bytes;) {
    const word = words[Math.floor(random.uniform() ** 3 * WORDS)] ?? '';
    at += text.write(word, at) + 1;
  }
  return text;
}
