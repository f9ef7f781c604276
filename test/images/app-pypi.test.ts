import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { stageApp, type StagedApp } from '../../src/images/app-stage.ts';
import { buildNodeRuntime } from '../support/guest-process.ts';
import { makeApp, temporaryDirectory } from './temporary.ts';

const LOCAL = '.snapfaas/root/usr/local';

/** Writes a file of a wheel's or an sdist's form into `directory`; the interpreter of the host zips it. */
function writeZip(path: string, files: Readonly<Record<string, string>>): void {
  const script =
    'import json, sys, zipfile\nwith zipfile.ZipFile(sys.argv[1], "w") as z:\n' +
    '    for name, text in json.load(sys.stdin).items():\n        z.writestr(name, text)\n';
  execFileSync('python3', ['-c', script, path], { input: JSON.stringify(files) });
}

/** A wheel without a RECORD: nobody here looks at it. */
function writeWheel(directory: string, file: string, files: Readonly<Record<string, string>>, more = ''): void {
  const [name = '', version = ''] = file.split('-');
  const tag = file.split('-').slice(2).join('-').replace('.whl', '');
  writeZip(join(directory, file), {
    ...files,
    [`${name}-${version}.dist-info/METADATA`]: `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n${more}`,
    [`${name}-${version}.dist-info/WHEEL`]: `Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: ${tag}\n`,
  });
}

describe('packages of PyPI', () => {
  let index: string;
  let cache: string;
  const stage = async (requirements: string, files: readonly (readonly [string, string])[] = []): Promise<StagedApp> =>
    stageApp(await makeApp([['workload.py', ''], ['requirements.txt', requirements], ...files]), {
      cacheDirectory: cache,
    });

  before(async () => {
    await buildNodeRuntime();
    index = await temporaryDirectory();
    cache = await temporaryDirectory();
    // As whoever runs SnapFaaS configures pip.
    Object.assign(process.env, { PIP_NO_INDEX: '1', PIP_FIND_LINKS: index, PIP_CONFIG_FILE: '/dev/null' });
  });

  test('wheels are unpacked where pip installs them: modules, data, programs; compiled, and nothing of them run', async () => {
    writeWheel(
      index,
      'Some_Thing-1.0-py3-none-any.whl',
      {
        'some_thing/__init__.py': 'open("/tmp/some-thing-was-run", "w")\n',
        'Some_Thing-1.0.data/data/share/thing.txt': 'data',
        'Some_Thing-1.0.data/scripts/raw': '#!python\nprint(1)\n',
        'Some_Thing-1.0.data/headers/thing.h': '',
        'Some_Thing-1.0.data/purelib/other.py': '',
        'Some_Thing-1.0.dist-info/entry_points.txt':
          '[console_scripts]\nthing = some_thing:cli.main\n../../evil = some_thing:main\nodd = os;evil:x\n',
      },
      'Requires-Dist: dependency\nRequires-Dist: absent; python_version < "3"\n',
    );
    writeWheel(index, 'dependency-2.0-py3-none-any.whl', { 'dependency.py': '' });
    const staged = await stage('some.thing>=1\n');
    assert.deepEqual(staged.packages, { 'pypi:Some_Thing': '1.0', 'pypi:dependency': '2.0' });
    assert.deepEqual(staged.notes, []);
    const local = join(staged.directory, LOCAL);
    assert.deepEqual((await readdir(join(local, 'bin'))).sort(), ['raw', 'thing']);
    assert.match(
      await readFile(join(local, 'bin/thing'), 'utf8'),
      /^#!\/usr\/bin\/python3\nimport sys\nfrom some_thing import cli\n/,
    );
    assert.match(await readFile(join(local, 'bin/raw'), 'utf8'), /^#!\/usr\/bin\/python3\nprint/);
    assert.equal((await stat(join(local, 'bin/raw'))).mode & 0o777, 0o755);
    assert.equal(await readFile(join(local, 'share/thing.txt'), 'utf8'), 'data');
    const [python = ''] = await readdir(join(local, 'lib'));
    const modules = join(local, 'lib', python, 'dist-packages');
    assert.ok(existsSync(join(modules, 'other.py')) && existsSync(join(modules, 'dependency.py')));
    assert.match((await readdir(join(modules, 'some_thing/__pycache__'))).join(), /^__init__\.cpython-\d+\.pyc$/);
    assert.ok(!existsSync('/tmp/some-thing-was-run'));
  });

  test('a function whose code changes keeps the versions it had', async () => {
    writeWheel(index, 'growing-1.0-py3-none-any.whl', { 'growing.py': '' });
    assert.deepEqual((await stage('growing\n')).packages, { 'pypi:growing': '1.0' });
    writeWheel(index, 'growing-2.0-py3-none-any.whl', { 'growing.py': '' });
    assert.deepEqual((await stage('growing\n', [['other.py', '']])).packages, { 'pypi:growing': '1.0' });
    const directory = await makeApp([
      ['workload.py', ''],
      ['requirements.txt', 'growing\n'],
    ]);
    const forced = await stageApp(directory, { cacheDirectory: cache, force: true });
    assert.deepEqual(forced.packages, { 'pypi:growing': '2.0' });
  });

  test('a package that is there for another Python only is refused, and the versions are named', async () => {
    writeWheel(index, 'elsewhere-1.0-cp38-cp38-manylinux2014_x86_64.whl', { 'elsewhere.py': '' });
    writeWheel(index, 'arm-1.0-py3-none-manylinux2014_aarch64.whl', { 'arm.py': '' });
    for (const name of ['elsewhere', 'arm', 'nowhere']) {
      await assert.rejects(stage(`${name}\n`), (error: Error) => {
        assert.match(error.message, new RegExp(`No matching distribution found for ${name}`));
        assert.match(error.message, /Only wheels for the Python of the guests are taken: 3\.\d+, Linux on x86-64/);
        return true;
      });
    }
  });

  test('a wrong hash is refused, and one without a hash beside others', async () => {
    writeWheel(index, 'pinned-1.0-py3-none-any.whl', { 'pinned.py': '' });
    await assert.rejects(
      stage(`pinned==1.0 --hash=sha256:${'00'.repeat(32)}\n`),
      /DO NOT MATCH THE HASHES|do not match/i,
    );
    await assert.rejects(stage('--require-hashes\npinned==1.0\n'), /hash/i);
  });

  for (const kind of ['setup.py', 'pyproject.toml'] as const) {
    test(`sources that a wheel names as its dependency are not built (${kind})`, async () => {
      const evil = 'open("/tmp/snapfaas-sources-were-run", "w").close()\n';
      const name = `sources${kind.length}`;
      const sdist = join(index, `${name}-1.0.zip`);
      writeZip(sdist, {
        [`${name}-1.0/setup.py`]: evil,
        ...(kind === 'pyproject.toml' && {
          [`${name}-1.0/pyproject.toml`]:
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
          [`${name}-1.0/backend.py`]: evil,
        }),
      });
      writeWheel(index, `wants${name}-1.0-py3-none-any.whl`, {}, `Requires-Dist: ${name} @ file://${sdist}\n`);
      await assert.rejects(stage(`wants${name}\n`));
      await assert.rejects(stage(`${name}\n`), /No matching distribution/);
      assert.ok(!existsSync('/tmp/snapfaas-sources-were-run'));
    });
  }

  for (const name of [
    '../outside.py',
    '/tmp/outside.py',
    'a/../../outside.py',
    'hostile-1.0.data/scripts/../../../outside.py',
  ]) {
    test(`a wheel that holds a file with the name ${name} is refused`, async () => {
      const hostile = await temporaryDirectory();
      writeWheel(hostile, 'hostile-1.0-py3-none-any.whl', { [name]: '' });
      await writeFile(
        join(index, 'hostile-1.0-py3-none-any.whl'),
        await readFile(join(hostile, 'hostile-1.0-py3-none-any.whl')),
      );
      await assert.rejects(
        stage('hostile\n'),
        /hostile-1\.0-py3-none-any\.whl cannot be unpacked: it holds a file with the name/,
      );
    });
  }

  test('what lies in the directory as pip leaves it is taken as it is', async () => {
    const vendored = await stage('Not_Anywhere==3\n', [['package/not_anywhere-3.dist-info/METADATA', '']]);
    assert.deepEqual(vendored.packages, {});
  });
});
