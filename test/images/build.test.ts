import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { before, describe, test } from 'node:test';
import {
  buildImages,
  ensureRuntimefs,
  filesOf,
  imagePaths,
  isUpToDate,
  verifyImages,
  type ImageName,
} from '../../src/images/build.ts';
import { encodeCpio } from '../../src/images/cpio.ts';
import { manifestPath, readManifest } from '../../src/images/manifest.ts';
import { ToolError } from '../../src/images/tool.ts';
import { IMAGES } from '../support/snapctr.ts';
import { debugfs, temporaryDirectory } from './temporary.ts';

/** The bytes of every file and manifest of an image, by digest. */
async function digests(name: ImageName, directory: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const file of filesOf(name, directory)) {
    found.push((await readManifest(file))?.sha256 ?? 'missing', await readFile(manifestPath(file), 'utf8'));
  }
  return found;
}

describe('images', () => {
  /** Built here, beside those that the tests run with, which were built elsewhere and earlier. */
  let one: string;
  before(async () => {
    one = await temporaryDirectory();
  });

  for (const name of ['kernel', 'python3', 'nodejs'] as const) {
    test(`${name}: two builds give the same bytes`, async () => {
      assert.equal(await isUpToDate(name, one), false);
      assert.equal(await isUpToDate(name, IMAGES), true);
      assert.deepEqual(await buildImages([name], { directory: one }), [name]);
      assert.deepEqual(await digests(name, one), await digests(name, IMAGES));
      assert.deepEqual(await verifyImages([name], one), []);
    });

    test(`${name}: what is up to date is not built again`, async () => {
      assert.equal(await isUpToDate(name, one), true);
      assert.deepEqual(await buildImages([name], { directory: one }), []);
    });
  }

  test('kernel: the kernel is an ELF file, the RAM disk lists init, the modules and their order', async () => {
    const paths = imagePaths(one);
    assert.equal((await readFile(paths.kernel)).subarray(0, 4).toString('hex'), '7f454c46');
    const initrd = await readFile(paths.initrd);
    const listed = execFileSync('cpio', ['-t', '--quiet'], { input: initrd, encoding: 'utf8' }).trim().split('\n');
    for (const name of ['dev/console', 'init', 'modules/order', 'modules/virtio_blk.ko', 'root', 'proc', 'sys']) {
      assert.ok(listed.includes(name), name);
    }
  });

  test('python3: the root file system holds the runtime and its command line, and no lists or logs', () => {
    const image = imagePaths(one).runtimefs.python3;
    assert.match(
      debugfs(image, 'cat /etc/snapfaas/runtime'),
      /^\/usr\/bin\/python3\n(.*\n)*\/usr\/lib\/snapfaas\/runtime.py\n$/,
    );
    assert.match(debugfs(image, 'cat /usr/lib/snapfaas/runtime.py'), /INVOKE/);
    assert.match(debugfs(image, 'cat /etc/passwd'), /^function:x:1000:/m);
    assert.match(debugfs(image, 'stat /usr/lib/python3.11/os.py'), /mtime: .*2020/);
    assert.equal(debugfs(image, 'ls -p /var/lib/apt'), '');
    execFileSync('/usr/sbin/e2fsck', ['-f', '-n', image], { stdio: 'ignore' });
  });

  test('an image that was cut, or whose manifest names another recipe, is not up to date', async () => {
    const image = imagePaths(one).runtimefs.python3;
    const manifest = await readFile(manifestPath(image), 'utf8');
    await writeFile(manifestPath(image), manifest.replace(/"recipe": ".{4}/, '"recipe": "0000'));
    assert.equal(await isUpToDate('python3', one), false);
    assert.deepEqual(await verifyImages(['python3'], one), [`${image} has a manifest that was changed`]);
    await writeFile(manifestPath(image), manifest);
    assert.equal(await isUpToDate('python3', one), true);
    await truncate(image, 4096);
    assert.equal(await isUpToDate('python3', one), false);
  });

  test('one that is made when it is wanted: what stands in its way is told, and nothing is left', async (t) => {
    const path = join(await temporaryDirectory(), 'nodejs22.x.ext4');
    for (const [name, value] of [
      ['npm_config_registry', 'http://127.0.0.1:9'],
      ['npm_config_fetch_retries', '0'],
    ] as const) {
      const before = process.env[name];
      process.env[name] = value;
      t.after(() => {
        if (before === undefined) Reflect.deleteProperty(process.env, name);
        else process.env[name] = before;
      });
    }
    const told: string[] = [];
    const ensure = (): Promise<void> => ensureRuntimefs(path, (text) => told.push(text), new AbortController().signal);
    await assert.rejects(ensure(), (error) => error instanceof ToolError && /npm/.test(error.message));
    assert.deepEqual(told, ['root file system nodejs22.x: downloading Node']);
    assert.deepEqual(await readdir(dirname(path)), []);
    // One of somebody's own is left alone, whether it is there or not.
    await ensureRuntimefs(join(dirname(path), 'my-node.ext4'), (text) => told.push(text), new AbortController().signal);
    assert.equal(told.length, 1);
  });

  test('an initial RAM disk does not depend on the order of its entries', () => {
    const directory = { path: 'dev', type: 'directory', mode: 0o755 } as const;
    const file = { path: 'dev/file', type: 'file', mode: 0o644, data: Buffer.from('12345') } as const;
    const archive = encodeCpio([file, directory]);
    assert.deepEqual(archive, encodeCpio([directory, file]));
    assert.equal(archive.length % 512, 0);
  });
});
