import assert from 'node:assert/strict';
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { readFinished, readManifest, verifyFile } from '../../src/images/manifest.ts';
import { temporaryDirectory } from './temporary.ts';

const BUILDER = join(import.meta.dirname, 'fixtures', 'builder.ts');

class Builder {
  readonly child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #seen: string[] = [];
  readonly #lines: AsyncIterator<string>;

  constructor(folder: string, text: string, stop = '') {
    this.child = spawn(process.execPath, ['--import', 'tsx', BUILDER, folder, text, stop], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  /** Waits until the builder has come to `point`. */
  async reaches(point: string): Promise<void> {
    while (!this.#seen.includes(point)) {
      const next = await this.#lines.next();
      assert.ok(next.done !== true, `the builder ended after: ${this.#seen.join(', ')}`);
      this.#seen.push(next.value);
    }
  }

  goOn(): void {
    this.child.stdin.write('\n');
  }

  async kill(): Promise<void> {
    const closed = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await closed;
  }

  async ends(): Promise<void> {
    await this.reaches('finished');
    if (this.child.exitCode === null) await once(this.child, 'exit');
    assert.equal(this.child.exitCode, 0);
  }
}

describe('publish', () => {
  // Inherited by the builders.
  const cache = process.env['XDG_CACHE_HOME'];
  before(async () => {
    process.env['XDG_CACHE_HOME'] = await temporaryDirectory();
  });
  after(() => {
    if (cache === undefined) delete process.env['XDG_CACHE_HOME'];
    else process.env['XDG_CACHE_HOME'] = cache;
  });

  for (const point of ['locked', 'halfway']) {
    test(`a builder that is killed when ${point} leaves nothing that looks finished, and the next one works`, async () => {
      const folder = await temporaryDirectory();
      const killed = new Builder(folder, 'first', point);
      await killed.reaches(point);
      await killed.kill();
      assert.equal(await readFinished(join(folder, 'product')), undefined);
      assert.ok((await readdir(folder)).length > 0, 'a killed builder cannot clean up');

      await new Builder(folder, 'second').ends();
      assert.deepEqual((await readdir(folder)).sort(), ['product', 'product.json']);
      assert.equal(await readFile(join(folder, 'product'), 'utf8'), 'second');
      assert.equal(await verifyFile(join(folder, 'product')), undefined);
    });
  }

  test('a builder that is killed keeps the product of the one before', async () => {
    const folder = await temporaryDirectory();
    await new Builder(folder, 'first').ends();
    const killed = new Builder(folder, 'second', 'halfway');
    await killed.reaches('halfway');
    await killed.kill();
    assert.equal(await readFile(join(folder, 'product'), 'utf8'), 'first');
    assert.equal(await verifyFile(join(folder, 'product')), undefined);
  });

  test('a second builder waits for the first', async () => {
    const folder = await temporaryDirectory();
    const first = new Builder(folder, 'first', 'halfway');
    await first.reaches('halfway');
    const second = new Builder(folder, 'second');
    await second.reaches('waiting');
    assert.equal(await readManifest(join(folder, 'product')), undefined);
    first.goOn();
    await first.ends();
    await second.ends();
    assert.equal(await readFile(join(folder, 'product'), 'utf8'), 'second');
    assert.deepEqual((await readdir(folder)).sort(), ['product', 'product.json']);
  });

  test('many builders that find the lock of a dead one build one after another', async () => {
    const folder = await temporaryDirectory();
    const dead = new Builder(folder, 'dead', 'locked');
    await dead.reaches('locked');
    await dead.kill();
    const builders = ['one', 'two', 'three', 'four'].map((text) => new Builder(folder, text));
    await Promise.all(builders.map((builder) => builder.ends()));
    assert.deepEqual((await readdir(folder)).sort(), ['product', 'product.json']);
    assert.equal(await verifyFile(join(folder, 'product')), undefined);
  });

  test('the lock of another process that has got the same process id is broken', async () => {
    const folder = await temporaryDirectory();
    const locks = join(process.env['XDG_CACHE_HOME'] ?? '', 'snapfaas/locks');
    const holder = new Builder(folder, 'holder', 'locked');
    await holder.reaches('locked');
    const [lock = ''] = await readdir(locks);
    await holder.kill();
    await writeFile(join(locks, lock), `${process.pid} 1`);
    await new Builder(folder, 'text').ends();
  });

  test('in a folder that others use, nothing of theirs holds a build up, nothing is removed, nothing left behind', async () => {
    const folder = await temporaryDirectory();
    const others = [
      '.building-999999999-1-00000000/layer',
      '.snapfaas-build-999999999-1-00000000/layer',
      '.snapfaas-image-notes/x',
      'base-0123456789abcdef/pages',
    ];
    for (const path of others) await mkdir(join(folder, path), { recursive: true });
    // As if a process that lives had the folder.
    await writeFile(join(folder, '.building.lock'), `${process.pid}`);
    await mkdir(join(folder, '.snapfaas-image-999999999-1-00000000/scratch'), { recursive: true });
    await new Builder(folder, 'text').ends();
    const left = [...others.map((path) => dirname(path)), '.building.lock', 'product', 'product.json'];
    assert.deepEqual((await readdir(folder)).sort(), left.sort());
    for (const path of others) assert.ok((await stat(join(folder, path))).isDirectory(), path);
  });

  test('the same folder by another way is the same folder', async () => {
    const folder = await temporaryDirectory();
    const link = join(await temporaryDirectory(), 'link');
    await symlink(folder, link);
    const first = new Builder(folder, 'first', 'halfway');
    await first.reaches('halfway');
    const second = new Builder(link, 'second');
    await second.reaches('waiting');
    first.goOn();
    await Promise.all([first.ends(), second.ends()]);
    assert.equal(await readFile(join(folder, 'product'), 'utf8'), 'second');
  });
});

describe('verify', () => {
  test('a flipped bit, a cut file and a missing manifest are found', async () => {
    const folder = await temporaryDirectory();
    const product = join(folder, 'product');
    await new Builder(folder, 'contents').ends();
    assert.equal(await verifyFile(product), undefined);

    const flipped = await readFile(product);
    flipped.writeUInt8(flipped.readUInt8(3) ^ 1, 3);
    await writeFile(product, flipped);
    assert.equal(await verifyFile(product), 'has other contents than were built');
    assert.notEqual(await readFinished(product), undefined, 'the fast check reads no contents');

    await writeFile(product, 'cont');
    assert.equal(await verifyFile(product), 'has 4 bytes instead of 8');
    assert.equal(await readFinished(product), undefined);
    assert.equal(await verifyFile(join(folder, 'other')), 'has no manifest');
  });
});
