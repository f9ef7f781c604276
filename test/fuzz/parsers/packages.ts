/** Packages of strangers: what the directory of an archive says, and what comes of it on disk. */
import assert from 'node:assert/strict';
import { existsSync, lstatSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import yauzl, { type ZipFile } from 'yauzl';
import { MAX_ENTRIES, MAX_UNPACKED_BYTES, Plan, type PlannedEntry } from '../../../src/packages/entries.ts';
import { PackageError } from '../../../src/packages/package-error.ts';
import { unpackPackage } from '../../../src/packages/unpack.ts';
import { makeZip, type ZipEntry } from '../../packages/zip.ts';
import { outcomeOfPromise } from '../properties.ts';
import type { Random } from '../random.ts';
import type { ParserTarget } from '../target.ts';

/** Of so many cases, one goes to the disk. */
const ONE_UNPACKED_OF = 50;

let scratch: string | null = null;

function scratchDirectory(): string {
  if (scratch === null) {
    const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'snapfaas-fuzz-'));
    scratch = directory;
    process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  }
  return scratch;
}

function entriesOf(random: Random): ZipEntry[] {
  const link = { mode: 0o120777, method: 0 };
  const kinds = [
    { name: 'index.js', data: 'exports.handler = 1' },
    { name: 'lib/a.js', data: 'x'.repeat(random.below(300)) },
    { name: 'lib/', mode: 0o040755, method: 0 },
    { name: 'bin/run', data: '#!/bin/sh', mode: 0o104755 },
    { name: 'lib/link', data: '../index.js', ...link },
    { name: './a//b/./c', data: 'y', method: 0 },
    { name: 'é/ø', data: '', host: 0 },
  ] as const satisfies readonly ZipEntry[];
  const names = new Set<string>();
  return Array.from({ length: 1 + random.below(5) }, (): ZipEntry => random.pick<ZipEntry>(kinds)).filter(
    ({ name }) => names.size < names.add(String(name)).size,
  );
}

/** What the library's own words are about is no matter here. */
async function plan(input: Buffer): Promise<ReturnType<Plan['finish']>> {
  const options = { lazyEntries: true, decodeStrings: false };
  const zip = await new Promise<ZipFile>((resolve, reject) => {
    yauzl.fromBuffer(input, options, (error, opened) => {
      if (error === null) resolve(opened);
      else reject(error);
    });
  });
  const planned = new Plan();
  for await (const entry of zip.eachEntry()) planned.add(entry);
  return planned.finish();
}

function checkPlan({ directories, others }: ReturnType<Plan['finish']>): void {
  assert.ok(others.length > 0 && others.length + directories.size <= MAX_ENTRIES * 257);
  const taken = new Set<string>(directories.keys());
  assert.equal(taken.size, directories.size);
  for (const { path, mode } of others) {
    assert.ok(!taken.has(path), `${path} is there twice`);
    taken.add(path);
    assert.equal(mode & ~0o777, 0);
  }
  for (const path of taken) {
    assert.doesNotMatch(path, /^\/|^$|(^|\/)\.{0,2}(\/|$)|[\0\\]/);
    const above = dirname(path);
    assert.ok(above === '.' || directories.has(above), `nothing makes the directory of ${path}`);
  }
  const bytes = others.reduce((sum, { entry }: PlannedEntry) => sum + entry.uncompressedSize, 0);
  assert.ok(bytes <= MAX_UNPACKED_BYTES);
}

/** All that is below, and where links lead. */
function checkTree(directory: string, top = directory): number {
  let bytes = 0;
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    const status = lstatSync(path);
    if (status.isDirectory()) bytes += checkTree(path, top);
    else if (status.isSymbolicLink()) {
      const target = relative(top, join(directory, readlinkSync(path)));
      assert.ok(!target.startsWith('..'), `${path} leads to ${target}`);
    } else {
      assert.ok(status.isFile() && (status.mode & 0o7000) === 0, path);
      bytes += status.size;
    }
  }
  return bytes;
}

async function unpackOnDisk(input: Buffer): Promise<void> {
  const directory = scratchDirectory();
  const [file, target] = [join(directory, 'package.zip'), join(directory, 'target')];
  writeFileSync(file, input);
  const outcome = await outcomeOfPromise([PackageError], () => unpackPackage(file, target));
  const there = readdirSync(directory).sort();
  if ('error' in outcome) return assert.deepEqual(there, ['package.zip']);
  assert.deepEqual(there, ['package.zip', 'target']);
  assert.ok(checkTree(target) <= outcome.value);
  rmSync(target, { recursive: true });
}

export const PACKAGES_TARGETS: readonly ParserTarget[] = [
  {
    name: 'zip-package',
    tokens: ['PK\x01\x02', 'PK\x03\x04', 'PK\x05\x06', 'PK\x06\x06', '../', '/', '\\', '\0', '..', '\xff\xff\xff\xff'],
    generate: (random) => makeZip(entriesOf(random)),
    async check(input, { random, isValid }) {
      const outcome = await outcomeOfPromise([Error], () => plan(input));
      if ('value' in outcome) checkPlan(outcome.value);
      // A directory alone is no package.
      else if (isValid) assert.ok(outcome.error instanceof PackageError && outcome.error.code === 'empty');
      if (random.oneIn(ONE_UNPACKED_OF)) await unpackOnDisk(input);
    },
  },
];
