import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BUILD_TIMES, BuilderClient, type BuildTimes } from '../../../src/controller/builder/builder-client.ts';
import { createLogger } from '../../../src/controller/log.ts';
import { BuildError, type BuildRequest } from '../../../src/protocol/builder.ts';
import { isRunning, until } from '../../end-to-end/processes.ts';

/** Stands where the builder would; what it does with a build is said by the build's directory. */
const SCRIPT = `
const say = (event) => console.log(JSON.stringify(event));
let rest = '', running = 0;
const build = ({ id, directory }) => {
  const done = () => { running -= 1; say({ event: 'built', id, path: directory, digest: id + ' ' + most, bytes: process.pid }); };
  running += 1;
  most = Math.max(most, running);
  if (directory === '/dies') return process.kill(process.pid, 'SIGKILL');
  if (directory === '/hangs') for (;;);
  if (directory === '/fails') return say({ event: 'failed', id, code: 'bad_function', message: 'a link leads out' });
  if (directory === '/notes') { say({ event: 'progress', id, text: 'on it' }); say({ event: 'note', id, text: 'left out' }); }
  if (directory === '/garbage') return process.stdout.write('x'.repeat(2 * 1024 * 1024));
  if (directory === '/never') return;
  setTimeout(done, directory === '/slow' ? 300 : 5);
};
let most = 0;
process.stdin.on('data', (bytes) => {
  const lines = (rest + bytes).split('\\n');
  rest = lines.pop();
  for (const command of lines.map((line) => JSON.parse(line))) {
    if (command.op === 'ping') say({ event: 'pong' });
    if (command.op === 'build') build(command);
    if (command.op === 'cancel' && !process.argv.includes('deaf')) say({ event: 'failed', id: command.id, code: 'internal', message: 'called off' });
  }
});
say({ event: 'serving' });
`;
const TIMES: BuildTimes = { ...BUILD_TIMES, pingMs: 50, firstPauseMs: 10, idleMs: 60_000 };

const request = (directory: string): BuildRequest => ({
  directory,
  runtime: 'nodejs',
  runtimefs: null,
  appfs: 'image',
  layers: [],
});

interface Settings {
  readonly script?: string;
  readonly more?: readonly string[];
  readonly times?: Partial<BuildTimes>;
}

/** A client of that; nothing of it may be left after the test. */
async function withClient(
  { script = SCRIPT, more = [], times }: Settings,
  use: (client: BuilderClient) => Promise<void>,
) {
  const command = [process.execPath, '-e', script, '--', ...more];
  const client = new BuilderClient(command, createLogger('silent'), { ...TIMES, ...times });
  try {
    await use(client);
  } finally {
    const { pid } = client;
    await client.close();
    assert.equal(client.pid, null);
    if (pid !== null) assert.equal(isRunning(pid), false);
  }
}

const failsWith = (code: string, words: RegExp, isRetryable: boolean) => (error: unknown) => {
  assert.ok(error instanceof BuildError);
  assert.equal(error.code, code);
  assert.match(error.message, words);
  assert.equal(error.isRetryable, isRetryable);
  return true;
};

describe('builder client', { timeout: 60_000 }, () => {
  test('starts a builder for the first build, and passes on what it tells', async () => {
    await withClient({}, async (client) => {
      assert.equal(client.pid, null);
      const told: string[] = [];
      const built = await client.build(request('/notes'), {
        onProgress: (text) => told.push(`progress: ${text}`),
        onNote: (text) => told.push(`note: ${text}`),
      });
      assert.deepEqual(built, { path: '/notes', digest: 'build-1 1', bytes: client.pid });
      assert.deepEqual(told, ['progress: on it', 'note: left out']);
    });
  });

  test('a failure says what the builder said, and whether to try again', async () => {
    await withClient({}, async (client) => {
      await assert.rejects(client.build(request('/fails')), failsWith('bad_function', /^a link leads out$/, false));
    });
  });

  test('requests for the same share a build that has not begun, and not one that has: its files may have changed', async () => {
    await withClient({}, async (client) => {
      const shared = await Promise.all([client.build(request('/a')), client.build(request('/a'))]);
      assert.equal(shared[0].digest, shared[1].digest);

      const first = client.build(request('/slow'));
      await client.build(request('/a'));
      const later = await Promise.all([client.build(request('/slow')), first]);
      assert.notEqual(later[0].digest, later[1].digest);
    });
  });

  test('builds wait for their turn, in order, some at a time', async () => {
    await withClient({}, async (client) => {
      const done: string[] = [];
      const built = await Promise.all(
        Array.from({ length: 50 }, async (_, i) => {
          const one = await client.build(request(`/${i}`));
          done.push(one.path);
          return one;
        }),
      );
      assert.equal(done.length, 50);
      const most = Number(built.at(-1)?.digest.split(' ')[1]);
      assert.ok(most > 1 && most < 50, `${most} at once`);
    });
  });

  test('too many that wait are refused', async () => {
    await withClient({}, async (client) => {
      const off = new AbortController();
      const builds = Array.from({ length: 1000 }, (_, i) => client.build(request(`/never/${i}`), off));
      await assert.rejects(client.build(request('/one-more')), failsWith('too_many', /^1000 builds wait/, true));
      off.abort(new Error('enough'));
      for (const build of builds) await assert.rejects(build, /enough/);
      await client.build(request('/a'));
    });
  });

  test('one that kills its builder fails after a second try; those beside it are built', async () => {
    for (const directory of ['/dies', '/hangs', '/garbage']) {
      await withClient({}, async (client) => {
        const others = Array.from({ length: 8 }, (_, i) => client.build(request(`/${i}`)));
        const killer = client.build(request(directory));
        await assert.rejects(
          killer,
          failsWith('builder_lost', /twice.*(SIGKILL|did not answer|over the limit)/s, true),
        );
        await Promise.all(others);
        await client.build(request('/after'));
      });
    }
  });

  test('a builder that cannot be started fails what waits with its own words, and not for ever', async () => {
    await withClient({ script: `console.error('no room'); process.exit(3);` }, async (client) => {
      for (let i = 0; i < 2; i += 1) {
        await assert.rejects(client.build(request('/a')), failsWith('builder_lost', /status 3\nno room$/, true));
      }
    });
  });

  test('a build that nobody waits for any more is called off; a builder that will not is killed', async () => {
    for (const more of [[], ['deaf']]) {
      await withClient({ more, times: { cancelLimitMs: 100 } }, async (client) => {
        const off = new AbortController();
        const build = client.build(request('/never'), { signal: off.signal });
        await client.build(request('/a'));
        const { pid } = client;
        off.abort(new Error('not wanted'));
        await assert.rejects(build, /^Error: not wanted$/);
        if (more.length > 0) await until('another builder', () => client.pid !== pid);
        await client.build(request('/b'));
        assert.equal(client.pid === pid, more.length === 0);
      });
    }
  });

  test('one of two that share a build may leave', async () => {
    await withClient({}, async (client) => {
      const off = new AbortController();
      const [left, stays] = [client.build(request('/a'), { signal: off.signal }), client.build(request('/a'))];
      off.abort(new Error('not wanted'));
      await assert.rejects(left, /not wanted/);
      assert.equal((await stays).path, '/a');
      await assert.rejects(client.build(request('/a'), { signal: off.signal }), /not wanted/);
    });
  });

  test('a build that takes too long is called off', async () => {
    await withClient({ times: { buildLimitMs: 60 } }, async (client) => {
      await assert.rejects(client.build(request('/never')), failsWith('too_long', /longer than 0.001 minutes/, true));
    });
  });

  test('a builder without work is ended, and another one is started for the next build', async () => {
    await withClient({ times: { idleMs: 50 } }, async (client) => {
      const { bytes: first } = await client.build(request('/a'));
      await until('its end', () => client.pid === null && !isRunning(first));
      assert.notEqual((await client.build(request('/b'))).bytes, first);
    });
  });

  test('closing calls off what is built and what waits', async () => {
    const client = new BuilderClient([process.execPath, '-e', SCRIPT], createLogger('silent'), TIMES);
    const builds = Array.from({ length: 40 }, (_, i) => client.build(request(i === 0 ? '/never' : `/never/${i}`)));
    const ends = builds.map((build) => assert.rejects(build, failsWith('builder_lost', /snapctr ends/, true)));
    await client.close();
    await Promise.all(ends);
    await assert.rejects(client.build(request('/a')), failsWith('builder_lost', /snapctr ends/, true));
  });
});
