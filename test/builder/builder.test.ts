/** The real builder, with functions of which some would be at it for long. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { chmod, mkdir, utimes, writeFile } from 'node:fs/promises';
import { getPriority } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { BuilderClient } from '../../src/controller/builder/builder-client.ts';
import { createLogger } from '../../src/controller/log.ts';
import { BuildError, type BuildRequest } from '../../src/protocol/builder.ts';
import { BUILDER } from '../support/snapctr.ts';
import { isRunning, until } from '../end-to-end/processes.ts';
import { makeApp, temporaryDirectory } from '../images/temporary.ts';
import { makeZip } from '../packages/zip.ts';

const LOCK = JSON.stringify({ name: 'app', lockfileVersion: 3, packages: { '': {} } });

describe('builder', { timeout: 120_000 }, () => {
  let place: string;
  let client: BuilderClient;
  let before: Readonly<Record<string, string | undefined>>;

  beforeEach(async () => {
    place = await temporaryDirectory();
    for (const name of ['bin', 'cache', 'tmp']) await mkdir(join(place, name));
    // Stands where npm would: it does not end, nor does what it has started, and both can be found.
    const npm = `#!/bin/sh\nsleep 600 &\necho $$ $! > ${place}/pids\ntouch "$TMPDIR/of-npm"\nwait\n`;
    await writeFile(join(place, 'bin/npm'), npm);
    await chmod(join(place, 'bin/npm'), 0o755);
    const { PATH, XDG_CACHE_HOME, TMPDIR } = process.env;
    before = { PATH, XDG_CACHE_HOME, TMPDIR };
    const ours = { PATH: `${join(place, 'bin')}:${PATH ?? ''}`, XDG_CACHE_HOME: join(place, 'cache') };
    Object.assign(process.env, ours, { TMPDIR: join(place, 'tmp') });
    client = new BuilderClient([process.execPath, BUILDER], createLogger('silent'));
  });

  afterEach(async () => {
    await client.close();
    for (const [name, value] of Object.entries(before)) {
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    }
  });

  const requestFor = async (files: readonly (readonly [string, string])[]): Promise<BuildRequest> => {
    return { directory: await makeApp(files), runtime: 'nodejs', runtimefs: null, appfs: 'image', layers: [] };
  };
  const endless = (): Promise<BuildRequest> =>
    requestFor([
      ['index.js', ''],
      ['package-lock.json', LOCK],
    ]);
  const toolPids = async (): Promise<readonly number[]> => {
    const read = (): readonly number[] => {
      try {
        return readFileSync(join(place, 'pids'), 'utf8').split(' ').map(Number);
      } catch {
        return [];
      }
    };
    await until('npm runs', () => read().length === 2 && read().every(isRunning));
    return read();
  };
  /** Builds that were given up, in the cache. */
  const leftovers = (): readonly string[] =>
    readdirSync(join(place, 'cache'), { recursive: true, encoding: 'utf8' }).filter((path) =>
      path.includes('.snapfaas-'),
    );

  test('makes an image, or a directory for plain processes, with a low priority', async () => {
    const request = await requestFor([['index.js', 'exports.handler = async () => 1;\n']]);
    const image = await client.build(request);
    assert.equal(statSync(image.path).size, image.bytes);
    assert.match(image.digest, /^[0-9a-f]{64}$/);
    assert.ok(client.pid !== null && getPriority(client.pid) > getPriority());
    const staged = await client.build({ ...request, appfs: 'directory' });
    assert.deepEqual(readdirSync(staged.path), ['index.js']);
    assert.deepEqual(await client.build(request), image);
  });

  test('unpacks layers, and says which of them cannot be used', async () => {
    const request = await requestFor([['index.js', '']]);
    const write = async (name: string, zip: Buffer): Promise<string> => {
      await writeFile(join(place, name), zip);
      return join(place, name);
    };
    const good = await write('good.zip', makeZip([{ name: 'nodejs/node_modules/a/index.js', data: '1' }]));
    const staged = await client.build({ ...request, appfs: 'directory', layers: [good, good] });
    assert.equal(readFileSync(join(staged.path, '.snapfaas/root/opt/nodejs/node_modules/a/index.js'), 'utf8'), '1');
    const packed = await write('package.zip', makeZip([{ name: 'index.js', data: '' }]));
    const cases: readonly (readonly [Buffer, RegExp])[] = [
      [Buffer.from('PK'), /^layer 2 \(bad\.zip\): the package is not a zip archive/],
      [makeZip([{ name: '../x', data: '' }]), /^layer 2 \(bad\.zip\): the name "\.\.\/x" leads out of the package/],
      [makeZip([{ name: 'big', size: 250 * 1024 * 1024 }]), /^layer 2 .* together larger than 250 MB unpacked; leave/],
    ];
    for (const [zip, words] of cases) {
      const bad = await write('bad.zip', zip);
      for (const source of [request, { ...request, package: packed, handler: 'index.handler' }]) {
        await assert.rejects(client.build({ ...source, layers: [good, bad] }), (error) => {
          assert.ok(error instanceof BuildError && error.code === 'bad_package' && !error.isRetryable);
          assert.match(error.message, words);
          return true;
        });
      }
    }
    await assert.rejects(client.build({ ...request, layers: Array<string>(6).fill(good) }), /more than 5 layers/);
    assert.deepEqual(leftovers(), []);
  });

  test('removes what nobody needs, and makes it again when it is wanted', async () => {
    const request = await requestFor([['index.js', '']]);
    const { path, digest } = await client.build(request);
    const everything = { maxBytes: 0, maxAgeMs: 0 };
    assert.equal(await client.removeUnused(everything), false);
    assert.ok(existsSync(path), 'it was used just now');
    await utimes(dirname(path), 1, 1);
    await Promise.all([client.removeUnused(everything), client.removeUnused(everything)]);
    assert.equal(existsSync(dirname(path)), false);
    assert.equal((await client.build(request)).digest, digest);
    assert.ok(existsSync(path));
    assert.deepEqual(leftovers(), []);
  });

  test('says what cannot be used, and goes on', async () => {
    const request = {
      directory: join(place, 'nowhere'),
      runtime: null,
      runtimefs: null,
      appfs: 'image',
      layers: [],
    } as const;
    await assert.rejects(
      client.build(request),
      (error) => error instanceof BuildError && error.code === 'bad_function',
    );
    await client.build(await requestFor([['index.js', '']]));
  });

  test('ends the programs of a build that is called off, and what they have started, and leaves nothing', async () => {
    const off = new AbortController();
    const build = client.build(await endless(), { signal: off.signal });
    build.catch(() => undefined);
    const pids = await toolPids();
    off.abort(new Error('not wanted'));
    await assert.rejects(build, /not wanted/);
    await until('their end', () => !pids.some(isRunning));
    await until('an empty cache', () => leftovers().length === 0);
    await client.build(await requestFor([['index.js', '']]));
  });

  test('ends them when snapctr ends', async () => {
    client.build(await endless()).catch(() => undefined);
    const pids = await toolPids();
    await client.close();
    await until('their end', () => !pids.some(isRunning));
    assert.deepEqual(
      readdirSync(join(place, 'tmp')).filter((name) => name.startsWith('snapfaas-builder')),
      [],
    );
    assert.deepEqual(leftovers(), []);
  });

  test('one that is killed takes them along; the next one removes what it has left', async () => {
    const off = new AbortController();
    client.build(await endless(), { signal: off.signal }).catch(() => undefined);
    const pids = await toolPids();
    assert.ok(client.pid !== null);
    process.kill(client.pid, 'SIGKILL');
    await until('their end', () => !pids.some(isRunning));
    off.abort(new Error('not wanted'));
    await client.build(await requestFor([['index.js', '']]));
    const own = readdirSync(join(place, 'tmp')).filter((name) => name.startsWith('snapfaas-builder'));
    assert.equal(own.length, 1);
    assert.deepEqual(readdirSync(join(place, 'tmp', own[0] ?? '')), []);
  });
});
