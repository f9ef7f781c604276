import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmod,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  realpath,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { before, describe, test } from 'node:test';
import { exportApp, packApp, SIZE_CLASSES } from '../../src/images/app-image.ts';
import { stageApp, type StagedApp } from '../../src/images/app-stage.ts';
import { verifyFile } from '../../src/images/manifest.ts';
import { scanTree } from '../../src/images/tree.ts';
import { buildNodeRuntime } from '../support/guest-process.ts';
import { debugfs, makeApp, temporaryDirectory } from './temporary.ts';

const MEBIBYTE = 1024 * 1024;

const FILES = [
  ['handler.py', 'def handle(request):\n    return request\n'],
  ['data/numbers.txt', '1 2 3\n'],
  ['data/more/deep.txt', 'deep\n'],
  ['run.sh', '#!/bin/sh\n'],
] as const;

describe('function images', () => {
  let cache: string;
  const stage = (directory: string): Promise<StagedApp> => stageApp(directory, { cacheDirectory: cache });
  const pack = async (directory: string): ReturnType<typeof packApp> => packApp(await stage(directory));
  before(async () => {
    await buildNodeRuntime();
    cache = await temporaryDirectory();
  });

  test('equal contents give equal digests and equal images, whenever and in whatever order they were written', async () => {
    const one = await makeApp(FILES);
    const two = await makeApp([...FILES].reverse());
    await utimes(join(two, 'handler.py'), 1, 1);
    await mkdir(join(two, '__pycache__'));
    await writeFile(join(two, '__pycache__', 'handler.cpython-311.pyc'), 'made by a run');
    for (const directory of [one, two]) await chmod(join(directory, 'run.sh'), 0o700);

    const other = await temporaryDirectory();
    const first = await stage(one);
    const second = await stageApp(two, { cacheDirectory: other });
    assert.equal(first.digest, second.digest);
    assert.notEqual(first.directory, second.directory);
    assert.equal((await packApp(first)).digest, (await packApp(second)).digest);
  });

  test('a stamp that cannot be read counts as none: the function is staged again', async () => {
    const directory = await makeApp(FILES);
    const first = await stage(directory);
    for (const text of ['', '{', 'null', '[]', '{"packages":{}}', '{"packages":{},"notes":[],"more":1}']) {
      await writeFile(join(dirname(first.directory), 'files.json'), text);
      assert.deepEqual(await stage(directory), first);
    }
  });

  test('modules of a staged function find the package of the hooks', async () => {
    const { directory } = await stage(await makeApp([['deep/module.js', '']]));
    const found = createRequire(join(directory, 'deep', 'module.js')).resolve('snapfaas');
    assert.equal(found, join(await realpath(dirname(directory)), 'node_modules', 'snapfaas', 'index.cjs'));
  });

  test('modules are compiled ahead, to the same bytes each time; those of Node packages and broken ones are not', async () => {
    const directory = await makeApp([
      ['nested/module.py', 'NAMES = {"a", "b", "c"}\n'],
      ['package/vendored/__init__.py', '# coding: latin-1\n'],
      ['broken.py', 'def (:\n'],
      ['nul.py', 'a = "\0"\n'],
      ['node_modules/gyp/build.py', 'pass\n'],
    ]);
    const { notes, directory: files } = await stage(directory);
    assert.deepEqual(notes, []);
    const compiled = async (path: string): Promise<readonly string[]> =>
      (await readdir(join(files, path, '__pycache__')).catch(() => [])).map((name) => name.replace(/-\d+/, ''));
    assert.deepEqual(await compiled('nested'), ['module.cpython.pyc']);
    assert.deepEqual(await compiled('package/vendored'), ['__init__.cpython.pyc']);
    assert.deepEqual(await compiled('.'), []);
    assert.deepEqual(await compiled('node_modules/gyp'), []);
    // The flags word of PEP 552: by the source's hash, and not to be checked.
    const [name = ''] = await readdir(join(files, 'nested', '__pycache__'));
    assert.equal((await readFile(join(files, 'nested', '__pycache__', name))).readUInt32LE(4), 1);
    const again = await stageApp(directory, { cacheDirectory: await temporaryDirectory() });
    assert.equal((await packApp(again)).digest, (await pack(directory)).digest);
  });

  test('modules are not compiled for plain processes of the host, whose Python may be another', async () => {
    const directory = await makeApp([['module.py', 'pass\n']]);
    const { directory: files } = await stageApp(directory, { cacheDirectory: cache, onHost: true });
    assert.deepEqual(await readdir(files), ['module.py']);
  });

  test('the name of what is made of a function is refused among its files', async () => {
    await assert.rejects(
      stage(await makeApp([['.snapfaas/root/usr/x', '']])),
      /\.snapfaas: the name is kept .*; rename it/,
    );
  });

  test('other contents, another name or another mode give another digest', async () => {
    const original = await makeApp(FILES);
    const digests = new Set([(await stage(original)).digest]);
    const changes: readonly ((directory: string) => Promise<void>)[] = [
      (directory) => writeFile(join(directory, 'handler.py'), 'pass\n'),
      (directory) => writeFile(join(directory, 'another.py'), ''),
      (directory) => chmod(join(directory, 'run.sh'), 0o755),
      (directory) => mkdir(join(directory, 'empty')),
    ];
    for (const change of changes) {
      const directory = await makeApp(FILES);
      await change(directory);
      digests.add((await stage(directory)).digest);
    }
    assert.equal(digests.size, 1 + changes.length);
  });

  test('the image holds the files, readable by everyone, and nothing else', async () => {
    const directory = await makeApp(FILES);
    await chmod(join(directory, 'handler.py'), 0o600);
    await chmod(join(directory, 'run.sh'), 0o700);
    const { image } = await pack(directory);
    const listed = debugfs(image, 'ls -p /').matchAll(/^\/\d+\/(\d+)\/(\d+)\/(\d+)\/([^/]+)\//gm);
    const entries = [...listed].map(
      ([, mode, uid, gid, name]) => `${name ?? ''} ${mode ?? ''} ${uid ?? ''}:${gid ?? ''}`,
    );
    assert.deepEqual(entries.sort(), [
      '. 040755 0:0',
      '.. 040755 0:0',
      '__pycache__ 040755 0:0',
      'data 040755 0:0',
      'handler.py 100644 0:0',
      'run.sh 100755 0:0',
    ]);
    assert.equal(debugfs(image, 'cat /data/more/deep.txt'), 'deep\n');
    execFileSync('/usr/sbin/e2fsck', ['-f', '-n', image], { stdio: 'ignore' });
  });

  test('a directory is staged and packed once', async () => {
    const directory = await makeApp([['once.py', 'pass\n']]);
    const first = await pack(directory);
    const { mtimeMs, ino } = await stat(first.image);
    assert.deepEqual(await pack(directory), first);
    assert.equal((await stat(first.image)).mtimeMs, mtimeMs);
    assert.equal((await stat(first.image)).ino, ino);
  });

  test('several at once give one result', async () => {
    const directory = await makeApp([['parallel.py', 'pass\n']]);
    const results = await Promise.all([1, 2, 3, 4].map(() => pack(directory)));
    for (const result of results) assert.deepEqual(result, results[0]);
    const names = await readdir(join((await stage(directory)).directory, '..'));
    assert.deepEqual(names.sort(), [
      'app.ext4',
      'app.ext4.json',
      'files',
      'files.json',
      'node_modules',
      'package.json',
    ]);
  });

  test('the image has the smallest size class that fits, and takes no more room on disk than its files', async () => {
    const small = await pack(await makeApp([['a.txt', 'a']]));
    assert.equal(small.bytes, 16 * MEBIBYTE);
    assert.ok((await stat(small.image)).blocks * 512 < MEBIBYTE);

    // 15.9 MiB would fit, were it not for the file system's own tables.
    const close = await makeApp([]);
    await writeFile(join(close, 'large'), Buffer.alloc(15.9 * MEBIBYTE, 'x'));
    assert.equal((await pack(close)).bytes, 64 * MEBIBYTE);

    const many = await makeApp([]);
    for (let index = 0; index < 2100; index += 1) await writeFile(join(many, `file-${index}`), '');
    assert.equal((await pack(many)).bytes, 64 * MEBIBYTE);
  });

  test('a function over the largest size class is refused with its size', async () => {
    const directory = await makeApp([]);
    const huge = await open(join(directory, 'huge'), 'w');
    await huge.truncate(4097 * MEBIBYTE);
    await huge.close();
    const staged = { digest: 'none', directory, packages: {}, notes: [] };
    await assert.rejects(packApp(staged), /the function has 4098 MiB in 2 files, over the limit of 4096 MiB/);
    assert.equal(SIZE_CLASSES.length, 5);
  });

  test('an empty directory becomes an empty image', async () => {
    const { image } = await pack(await makeApp([]));
    assert.doesNotMatch(debugfs(image, 'ls -p /'), /lost\+found/);
  });

  test('a missing directory and a file in its place are refused by name', async () => {
    const directory = await makeApp([['file', '']]);
    await assert.rejects(stage(join(directory, 'nowhere')), /nowhere does not exist/);
    await assert.rejects(stage(join(directory, 'file')), /file is not a directory/);
  });

  test('links stay links if they stay inside', async () => {
    const directory = await makeApp(FILES);
    await symlink('../handler.py', join(directory, 'data', 'link.py'));
    const staged = await stage(directory);
    assert.equal(await readlink(join(staged.directory, 'data', 'link.py')), '../handler.py');
  });

  for (const target of ['/etc/passwd', '../../etc/passwd', 'data/../../outside']) {
    test(`a link to ${target} is refused`, async () => {
      const directory = await makeApp(FILES);
      await symlink(target, join(directory, 'escape'));
      await assert.rejects(stage(directory), /escape is a link to .*, which is outside of the function's directory/);
    });
  }

  test('a link that leads outside over another link is refused', async () => {
    const directory = await makeApp(FILES);
    await symlink('data/more', join(directory, 'more'));
    // By its words it ends at `x`; really it starts from data/more.
    await symlink('more/../../../x', join(directory, 'sly'));
    await assert.rejects(stage(directory), /sly is a link to/);
  });

  test('a name that is not UTF-8 is refused, one with the sign for such names is not', async () => {
    const directory = await makeApp([['\uFFFD.txt', 'fine']]);
    assert.deepEqual(
      (await scanTree(directory)).map(({ path }) => path),
      ['\uFFFD.txt'],
    );
    await writeFile(Buffer.concat([Buffer.from(`${directory}/`), Buffer.of(0xff, 0xfe)]), '');
    await assert.rejects(scanTree(directory), { name: 'TreeError', message: /: its name is not UTF-8; rename it$/ });
  });

  test('what is neither file, directory nor link is refused', async () => {
    const directory = await makeApp(FILES);
    execFileSync('mkfifo', [join(directory, 'pipe')]);
    await assert.rejects(stage(directory), /pipe is neither a file, a directory nor a link/);
  });

  test('npm packages of a package-lock.json are installed, without development ones and scripts', async () => {
    const directory = await makeApp([
      ['index.js', ''],
      ['local/package.json', '{"name":"local","version":"1.0.0","scripts":{"install":"touch installed"}}'],
      ['tool/package.json', '{"name":"tool","version":"1.0.0"}'],
      [
        'package.json',
        '{"name":"app","version":"1.0.0","dependencies":{"local":"file:local"},"devDependencies":{"tool":"file:tool"}}',
      ],
    ]);
    execFileSync('npm', ['install', '--package-lock-only', '--ignore-scripts', '--no-audit'], {
      cwd: directory,
      stdio: 'ignore',
    });
    const staged = await stage(directory);
    assert.deepEqual(
      (await readdir(join(staged.directory, 'node_modules'))).filter((name) => !name.startsWith('.')),
      ['local'],
    );
    assert.deepEqual(await readdir(join(staged.directory, 'local')), ['package.json']);
  });

  test('a failing npm is quoted', async () => {
    const directory = await makeApp([
      ['package.json', '{"name":"app","version":"1.0.0","dependencies":{"missing":"1.0.0"}}'],
      ['package-lock.json', '{"name":"app","version":"1.0.0","lockfileVersion":3,"packages":{}}'],
    ]);
    await assert.rejects(stage(directory), /"npm ci .*" failed \(1\); its last lines:\n.*npm error/s);
  });

  test('an image is exported with its manifest, as a sparse file', async () => {
    const packed = await pack(await makeApp(FILES));
    const out = join(await temporaryDirectory(), 'folder', 'function.ext4');
    await exportApp(packed, out);
    assert.equal(await verifyFile(out), undefined);
    assert.ok((await stat(out)).blocks * 512 < MEBIBYTE);
    assert.deepEqual((await readdir(dirname(out))).sort(), ['function.ext4', 'function.ext4.json']);
  });
});
