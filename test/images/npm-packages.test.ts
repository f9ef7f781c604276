import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, readlink, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { stageApp, type StagedApp } from '../../src/images/app-stage.ts';
import { buildNodeRuntime } from '../support/guest-process.ts';
import { Registry } from './npm-registry.ts';
import { temporaryDirectory } from './temporary.ts';

type Json = Readonly<Record<string, unknown>>;
type Files = Readonly<Record<string, string | Json>>;

const UNTOUCHED = { ...process.env };

describe('npm packages of functions', { timeout: 120_000 }, () => {
  let registry: Registry;
  /** What a hostile function wants npm to talk to. */
  let elsewhere: Registry;
  let cache: string;
  let place: string;
  let directory: string;
  /** Made by whatever program a function gets to run. */
  let proof: string;

  before(async () => {
    await buildNodeRuntime();
    cache = await temporaryDirectory();
    [registry, elsewhere] = [await Registry.start(), await Registry.start()];
  });
  after(() => {
    registry.close();
    elsewhere.close();
  });
  beforeEach(async () => {
    place = await temporaryDirectory();
    [directory, proof] = [join(place, 'function'), join(place, 'proof')];
    await mkdir(join(place, 'bin'));
    for (const name of Object.keys(process.env)) if (/^npm_/i.test(name)) Reflect.deleteProperty(process.env, name);
    process.env['npm_config_userconfig'] = join(place, 'npmrc');
    process.env['npm_config_cache'] = join(cache, 'npm');
    process.env['PATH'] = `${join(place, 'bin')}:${UNTOUCHED['PATH'] ?? ''}`;
    const host = new URL(registry.url).host;
    await writeFile(
      join(place, 'npmrc'),
      `registry=${registry.url}\n//${host}/:_authToken=\${HOST_TOKEN}\nfetch-retries=0\n`,
    );
    process.env['HOST_TOKEN'] = 'of-the-host';
    process.env['SECRET'] = 'not for functions';
    await program('bin/git');
    registry.asked.length = 0;
    elsewhere.asked.length = 0;
  });
  afterEach(() => {
    for (const name of Object.keys(process.env)) if (!(name in UNTOUCHED)) Reflect.deleteProperty(process.env, name);
    Object.assign(process.env, UNTOUCHED);
  });

  /** A program that leaves the proof that it ran. */
  async function program(path: string): Promise<void> {
    await mkdir(dirname(join(place, path)), { recursive: true });
    await writeFile(join(place, path), `#!/bin/sh\nenv > ${proof}\n`);
    await chmod(join(place, path), 0o755);
  }

  async function write(files: Files): Promise<void> {
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(directory, path)), { recursive: true });
      await writeFile(join(directory, path), typeof text === 'string' ? text : JSON.stringify(text));
    }
  }

  function stage(): Promise<StagedApp> {
    return stageApp(directory, { cacheDirectory: cache });
  }

  function lockOf(packages: Readonly<Record<string, Json>>, manifest: Json = {}): Json {
    return { name: 'app', lockfileVersion: 3, packages: { '': manifest, ...packages } };
  }

  async function namesIn(path: string): Promise<string[]> {
    return (await readdir(path)).filter((name) => !name.startsWith('.')).sort();
  }

  test("they come from the host's registry with the host's token; the function's .npmrc is not read, and that is said", async () => {
    const dep = registry.publish('dep', {}, { 'index.js': 'module.exports = 42;\n' });
    const manifest = { dependencies: { dep: '^1.0.0' } };
    const host = new URL(elsewhere.url).host;
    await write({
      'package.json': manifest,
      'package-lock.json': lockOf({ 'node_modules/dep': dep }, manifest),
      '.npmrc': `registry=${elsewhere.url}\n//${host}/:_authToken=\${SECRET}\n`,
    });
    const staged = await stage();
    assert.equal(await readFile(join(staged.directory, 'node_modules/dep/index.js'), 'utf8'), 'module.exports = 42;\n');
    assert.deepEqual(staged.notes, [
      '.npmrc is not read: npm takes its registries and whatever else from the configuration of this host',
    ]);
    assert.ok(registry.asked.length > 0);
    for (const { headers } of registry.asked) assert.equal(headers.authorization, 'Bearer of-the-host');
    assert.deepEqual(elsewhere.asked, []);
  });

  test('local packages are linked to, with the packages that they need themselves', async () => {
    const dep = registry.publish('inner');
    const manifest = { dependencies: { shared: 'file:./libs/shared', packed: 'file:vendor/packed.tgz' } };
    const shared = { name: 'shared', version: '1.0.0', main: 'main.js', dependencies: { inner: '1.0.0' } };
    await mkdir(join(place, 'package'));
    await writeFile(join(place, 'package/package.json'), '{"name":"packed","version":"1.0.0"}');
    await mkdir(join(directory, 'vendor'), { recursive: true });
    execFileSync('tar', ['-czf', join(directory, 'vendor/packed.tgz'), 'package'], { cwd: place });
    await write({
      'package.json': `\uFEFF${JSON.stringify(manifest)}`,
      'libs/shared/package.json': shared,
      'libs/shared/main.js': 'module.exports = 1;\n',
      'package-lock.json': lockOf(
        {
          'libs/shared': { version: '1.0.0', dependencies: { inner: '1.0.0' } },
          'libs/shared/node_modules/inner': dep,
          'node_modules/shared': { resolved: 'libs/shared', link: true },
          'node_modules/packed': { version: '1.0.0', resolved: 'file:vendor/packed.tgz' },
        },
        manifest,
      ),
    });
    const { directory: files, notes } = await stage();
    assert.deepEqual(notes, []);
    assert.deepEqual(await namesIn(join(files, 'node_modules')), ['packed', 'shared']);
    assert.equal(await readlink(join(files, 'node_modules/shared')), '../libs/shared');
    assert.deepEqual(await namesIn(join(files, 'libs/shared')), ['main.js', 'node_modules', 'package.json']);
    assert.ok((await stat(join(files, 'node_modules/shared/node_modules/inner/package.json'))).isFile());
    assert.deepEqual(JSON.parse(await readFile(join(files, 'libs/shared/package.json'), 'utf8')), shared);
  });

  test('no script and no setting of a function runs a program', async () => {
    await program('function/evil.sh');
    const evil = join(directory, 'evil.sh');
    const scripts = Object.fromEntries(
      ['preinstall', 'install', 'postinstall', 'prepare', 'prepack', 'prepublish', 'dependencies'].map((name) => [
        name,
        evil,
      ]),
    );
    const dep = registry.publish('scripted', { scripts, hasInstallScript: true }, { 'binding.gyp': '{}' });
    const manifest = {
      ...{ name: 'app', version: '1.0.0', scripts, packageManager: `npm@${elsewhere.url}npm.tgz` },
      config: { 'script-shell': evil, git: evil },
      dependencies: { scripted: '1.0.0', local: 'file:local' },
      workspaces: ['local'],
    };
    await write({
      'package.json': manifest,
      'local/package.json': { name: 'local', version: '1.0.0', scripts, bin: 'cli.js' },
      '.npmrc': [
        ...[`git=${evil}`, `script-shell=${evil}`, 'ignore-scripts=false', 'dangerously-allow-all-scripts=true'],
        ...[`node-options=--require ${evil}`, `shell=${evil}`, 'install-links=true', 'foreground-scripts=true', ''],
      ].join('\n'),
      'package-lock.json': lockOf(
        {
          local: { version: '1.0.0' },
          'node_modules/local': { resolved: 'local', link: true },
          'node_modules/scripted': dep,
        },
        manifest,
      ),
    });
    const staged = await stage();
    assert.deepEqual(await namesIn(join(staged.directory, 'node_modules')), ['local', 'scripted']);
    assert.equal(existsSync(proof), false);
    assert.deepEqual(elsewhere.asked, []);
  });

  test('git is not run for what the registry says a package needs, either', async () => {
    const sneaky = registry.publish('sneaky', { dependencies: { more: `git+${elsewhere.url}more.git` } });
    const manifest = { dependencies: { sneaky: '1.0.0' } };
    const { dependencies, ...locked } = sneaky;
    assert.ok(dependencies !== undefined);
    await write({ 'package.json': manifest, 'package-lock.json': lockOf({ 'node_modules/sneaky': locked }, manifest) });
    await stage().catch(() => undefined);
    await write({ 'package-lock.json': lockOf({}, manifest) });
    await assert.rejects(stage(), /"npm ci .* failed/);
    assert.equal(existsSync(proof), false);
    assert.deepEqual(elsewhere.asked, []);
  });

  test('npm sees of the environment what is for npm', async () => {
    await writeFile(join(place, 'bin/npm'), `#!/bin/sh\nenv > ${proof}\nls -A > ${proof}.files\n`);
    await chmod(join(place, 'bin/npm'), 0o755);
    Object.assign(process.env, { HTTPS_PROXY: 'http://127.0.0.1:9', no_proxy: 'localhost', NODE_OPTIONS: '' });
    Object.assign(process.env, {
      AWS_SECRET_ACCESS_KEY: 'x',
      npm_config_ignore_scripts: 'false',
      NPM_CONFIG_GIT: 'git',
    });
    await write({ 'package.json': {}, 'package-lock.json': lockOf({}), '.npmrc': 'registry=x', 'evil.sh': '' });
    await stage();
    const seen: Readonly<Record<string, string>> = Object.fromEntries(
      (await readFile(proof, 'utf8')).split('\n').map((line): [string, string] => {
        const [name = '', ...value] = line.split('=');
        return [name, value.join('=')];
      }),
    );
    for (const name of ['AWS_SECRET_ACCESS_KEY', 'SECRET', 'NODE_OPTIONS', 'SNAPFAAS_RUN_DIR', 'NPM_CONFIG_GIT']) {
      assert.equal(seen[name], undefined, name);
    }
    const expected = {
      ...{ HTTPS_PROXY: 'http://127.0.0.1:9', no_proxy: 'localhost', HOST_TOKEN: 'of-the-host' },
      ...{ HOME: process.env['HOME'], npm_config_userconfig: join(place, 'npmrc') },
      ...{ npm_config_ignore_scripts: 'true', npm_config_git: '/dev/null/git' },
    };
    for (const [name, value] of Object.entries(expected)) assert.equal(seen[name], value, name);
    assert.equal(await readFile(`${proof}.files`, 'utf8'), 'package-lock.json\npackage.json\n');
  });

  const GIT = /comes from a git repository \(.*\), and git is not run; take it from a registry/;
  const OUTSIDE = /is outside of the function's directory \(.*\); copy it into the directory/;
  const NAME = /has a name that no package can have/;
  const dependency = (source: string): Files => ({ 'package.json': { dependencies: { dep: source } } });
  const locked = (entry: Json, path = 'node_modules/dep'): Files => ({
    'package-lock.json': lockOf({ [path]: { version: '1.0.0', ...entry } }),
  });
  const lockedOld = (entry: Json, name = 'dep'): Files => ({
    'package-lock.json': { lockfileVersion: 1, dependencies: { [name]: { version: '1.0.0', ...entry } } },
  });
  const REFUSED: readonly (readonly [files: Files, reason: RegExp])[] = [
    ...[
      'git+ssh://git@h/x.git',
      'git+https://h/x.git',
      'git://h/x',
      'git@github.com:x/y.git',
      'user/repo',
      'github:u/r',
      'gist:1f',
    ].flatMap((source): (readonly [Files, RegExp])[] => [
      [dependency(source), GIT],
      [dependency(`npm:${source}`), /git repository|failed \(1\)/],
      [locked({ resolved: source }), GIT],
      [locked({ dependencies: { more: source } }), GIT],
      [lockedOld({ version: source }), GIT],
      [lockedOld({ requires: { more: source } }), GIT],
      [lockedOld({ dependencies: { more: { version: source } } }), GIT],
      [{ 'package.json': { overrides: { a: { 'b@1': source } } } }, GIT],
    ]),
    [dependency('https://github.com/u/r.git'), GIT],
    [locked({ version: 'git+ssh://git@h/x.git' }), GIT],
    [{ ...dependency('file:lib'), 'lib/package.json': { dependencies: { more: 'github:u/r' } } }, GIT],
    [{ 'lib/package.json': { devDependencies: { more: 'u/r' } }, ...locked({ link: true, resolved: 'lib' }) }, GIT],
    ...['file:../x', '../x', 'file:/etc', '/etc', '~/x', 'file:a/../../x', 'file:../x.tgz', 'link:../x'].map(
      (source): readonly [Files, RegExp] => [dependency(source), source === 'link:../x' ? /outside|failed/ : OUTSIDE],
    ),
    [locked({ resolved: '../x', link: true }), OUTSIDE],
    [locked({ resolved: '/etc', link: true }), OUTSIDE],
    [locked({ resolved: 'file:../x', link: true }), OUTSIDE],
    [locked({ resolved: 'file:../x.tgz' }), OUTSIDE],
    [locked({}, '../x'), OUTSIDE],
    [locked({}, '/x'), OUTSIDE],
    [locked({}, '../x/node_modules/dep'), OUTSIDE],
    [locked({}, 'node_modules/../../x'), /outside|name that no package/],
    [locked({}, 'node_modules/x@git+ssh:'), NAME],
    [locked({}, 'node_modules/..'), NAME],
    [locked({ name: 'x@git+ssh://git@h/x.git' }), NAME],
    [lockedOld({ version: 'file:../x' }), OUTSIDE],
    [lockedOld({}, '../../x'), NAME],
    [{ 'package.json': { workspaces: ['../*'] } }, OUTSIDE],
    [{ 'package.json': { workspaces: { packages: ['/srv/*'] } } }, OUTSIDE],
    [{ 'package-lock.json': '{' }, /package-lock\.json: it is not JSON/],
    [{ 'package-lock.json': '[]' }, /package-lock\.json: it is not an object/],
    [{ 'package-lock.json': '{"packages":[]}' }, /"packages" is not an object/],
    [{ 'package-lock.json': '{"packages":{"node_modules/x":7}}' }, /"node_modules\/x" in "packages" is not an object/],
  ];
  test('what would have npm run git, or leave the directory, is refused before npm runs', async () => {
    await writeFile(join(place, 'bin/npm'), `#!/bin/sh\necho ran >> ${proof}; exit 1\n`);
    await chmod(join(place, 'bin/npm'), 0o755);
    for (const [index, [files, reason]] of REFUSED.entries()) {
      directory = join(place, `function-${index}`);
      await write({ 'package.json': {}, 'package-lock.json': lockOf({}), ...files });
      await assert.rejects(stage(), reason, JSON.stringify(files));
    }
  });

  test('packages over http are taken from registries of the host, and from nowhere else', async () => {
    await writeFile(join(place, 'npmrc'), `@own:registry=${registry.url}\nfetch-retries=0\n`);
    const dep = registry.publish('plain');
    const manifest = { dependencies: { plain: dep['resolved'] } };
    await write({ 'package.json': manifest, 'package-lock.json': lockOf({ 'node_modules/plain': dep }, manifest) });
    assert.deepEqual(await namesIn(join((await stage()).directory, 'node_modules')), ['plain']);
    const resolved = `${elsewhere.url}plain.tgz`;
    await write({ 'package-lock.json': lockOf({ 'node_modules/plain': { ...dep, resolved } }, manifest) });
    await assert.rejects(
      stage(),
      /the package "plain" comes over http \(http:.*\), which is not a registry of this host's/,
    );
    assert.deepEqual(elsewhere.asked, []);
  });

  test('packages with install scripts are named, whatever the lock file says of them', async () => {
    const native = registry.publish('native', { scripts: { postinstall: `touch ${proof}` } });
    const plain = registry.publish('plain');
    const manifest = { dependencies: { native: '1.0.0', plain: '1.0.0' } };
    const packages = { 'node_modules/native': { ...native, hasInstallScript: true }, 'node_modules/plain': plain };
    await write({ 'package.json': manifest, 'package-lock.json': lockOf(packages, manifest) });
    const { notes } = await stage();
    assert.equal(notes.length, 1);
    assert.match(notes[0] ?? '', /^npm packages with install scripts, which are not run: native\. One that brings/);
    assert.equal(existsSync(proof), false);
  });

  test('npm-shrinkwrap.json counts before package-lock.json', async () => {
    const manifest = { dependencies: { plain: '1.0.0' } };
    await write({
      'package.json': manifest,
      'npm-shrinkwrap.json': lockOf({ 'node_modules/plain': registry.publish('plain') }, manifest),
      'package-lock.json': lockOf({ 'node_modules/other': { version: 'git+ssh://git@example.com/x/y.git#abc' } }),
    });
    assert.deepEqual(await namesIn(join((await stage()).directory, 'node_modules')), ['plain']);
    await write({
      'npm-shrinkwrap.json': lockOf({ 'node_modules/x': { version: '1.0.0', resolved: 'git+https://h/x.git' } }),
    });
    await assert.rejects(stage(), /npm-shrinkwrap\.json: the package "x" comes from a git repository/);
  });

  test('a link of npm to what is not there is refused', async () => {
    const manifest = { dependencies: { gone: 'file:gone' } };
    const packages = { gone: { version: '1.0.0' }, 'node_modules/gone': { resolved: 'gone', link: true } };
    await write({ 'package.json': manifest, 'package-lock.json': lockOf(packages, manifest) });
    await assert.rejects(
      stage(),
      /node_modules\/gone is a link to \.\.\/gone, which is not there; copy it into the directory/,
    );
  });

  test("a failing npm is quoted, with a word on the function's .npmrc", async () => {
    const manifest = { dependencies: { missing: '1.0.0' } };
    await write({
      'package.json': manifest,
      'package-lock.json': lockOf({}, manifest),
      '.npmrc': 'registry=http://h/',
    });
    await assert.rejects(stage(), /"npm ci .*" failed \(1\); its last lines:\n.*npm error.*\.npmrc is not read/s);
  });
});
