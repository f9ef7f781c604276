import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { HOOKS_PACKAGE_FILES } from '../../src/images/hooks-package.ts';
import { PROJECT_ROOT } from '../../src/images/project.ts';
import { encodeFrame, type Frame } from '../../src/protocol/frame.ts';
import { FrameType, type FunctionFailure, type LoadRequest } from '../../src/protocol/guest.ts';
import { buildNodeRuntime, failureOf, GuestProcess, runningGuests } from '../support/guest-process.ts';

const HOOKS = { step: 'hooks' } as const;
const GENERATORS = { step: 'generators' } as const;

const hooksPackage: Record<string, string> = {};

before(async () => {
  await buildNodeRuntime();
  for (const path of HOOKS_PACKAGE_FILES) {
    const place = join('node_modules', 'snapfaas', basename(path));
    hooksPackage[place] = await readFile(join(PROJECT_ROOT, path), 'utf8');
  }
});
after(() => assert.equal(runningGuests(), 0, 'every runtime that was started has ended'));

interface Options {
  readonly file?: string;
  readonly load?: Partial<LoadRequest>;
}

/** Imports `source` as the function's only module. */
async function importSource(source: string, { file = 'workload.js', load }: Options = {}): Promise<GuestProcess> {
  const guest = await GuestProcess.start('node', { ...hooksPackage, [file]: source });
  const answer = await guest.import(load);
  if (answer.type !== FrameType.loaded) {
    await guest.remove();
    assert.fail(answer.payload.toString());
  }
  return guest;
}

async function withImported(
  source: string,
  use: (guest: GuestProcess) => Promise<void>,
  options?: Options,
): Promise<void> {
  const guest = await importSource(source, options);
  try {
    await use(guest);
  } finally {
    await guest.stop();
  }
}

async function seal(guest: GuestProcess, header: { readonly step: string } = HOOKS): Promise<void> {
  const answer = await guest.command(FrameType.seal, { ...header });
  assert.equal(answer.type, FrameType.sealed, answer.payload.toString());
}

async function start(guest: GuestProcess, restored: boolean): Promise<void> {
  const answer = await guest.command(FrameType.start, { restored });
  assert.equal(answer.type, FrameType.started, answer.payload.toString());
}

async function result(guest: GuestProcess, event = '{}'): Promise<unknown> {
  const reply = await guest.invoke(event);
  assert.equal(reply.type, FrameType.result, reply.payload.toString());
  return JSON.parse(reply.payload.toString()) as unknown;
}

async function rehearse(guest: GuestProcess, event: string): Promise<Frame> {
  guest.functionChannel.write(encodeFrame(FrameType.rehearse, { id: 'r', deadline_ms: 0 }, Buffer.from(event)));
  return guest.nextFunctionFrame();
}

function hookFailure(answer: Frame): FunctionFailure {
  assert.equal(answer.type, FrameType.hookFailed);
  return failureOf(answer);
}

const RECORDING = `
const ran = [];
const record = (...args) => { console.log('hook', ...args); ran.push(args); };
const recordLater = async (...args) => {
  await new Promise((resolve) => setTimeout(resolve, 20));
  record(...args);
};
registerBeforeSnapshot(record, 'before 1', { with: 'more' });
registerBeforeSnapshot(recordLater, 'before 2');
registerAfterRestore(recordLater, 'after 1');
registerAfterRestore(record, 'after 2', 3);
`;
const COMMON_JS = `const { registerAfterRestore, registerBeforeSnapshot } = require('snapfaas');\n`;
const ES_MODULE = `import { registerAfterRestore, registerBeforeSnapshot } from 'snapfaas';\n`;

/** Its hook gets a function hot that takes V8 some hundred milliseconds to compile, in a thread of its own. */
const COMPILING = `${COMMON_JS}
const lines = Array.from({ length: 400 }, (_, i) => \`x = (x * \${i + 3} + n.a\${i % 20}) | 0; if (x === \${i}) x ^= n.a3;\`);
const hot = new Function('n', \`let x = 1; \${lines.join('')} return x;\`);
const numbers = Object.fromEntries(Array.from({ length: 20 }, (_, i) => ['a' + i, i]));
registerBeforeSnapshot(() => {
  require('node:v8').setFlagsFromString('--trace-opt');
  for (let i = 0; i < 1000; i += 1) hot(numbers);
});
exports.handle = () => null;
`;

suite('node runtime around a snapshot', () => {
  for (const [what, source, file] of [
    ['CommonJS', `${COMMON_JS}${RECORDING}\nexports.handle = () => ran;`, 'workload.js'],
    ['ES module', `${ES_MODULE}${RECORDING}\nexport const handle = () => ran;`, 'workload.mjs'],
  ] as const) {
    test(`runs hooks before the snapshot last to first, and those after the restore first to last (${what})`, () =>
      withImported(
        source,
        async (guest) => {
          await seal(guest);
          await seal(guest, GENERATORS);
          await start(guest, true);
          const expected = [['before 2'], ['before 1', { with: 'more' }], ['after 1'], ['after 2', 3]];
          assert.deepEqual(await result(guest), expected);
          const { stdout } = await guest.printedBy(0);
          assert.equal(stdout.replace(/ \{.*\}/, ''), 'hook before 2\nhook before 1\nhook after 1\nhook after 2 3\n');
          assert.deepEqual(await guest.printedBy(1), { stdout: '', stderr: '' }, 'a rehearsal prints nothing');
        },
        { file },
      ));
  }

  test('leaves no compilation to the VMs that are restored', () =>
    withImported(COMPILING, async (guest) => {
      await seal(guest);
      await start(guest, true);
      const { stdout } = await guest.printedBy(0);
      const begun = stdout.match(/^\[compiling method /gm)?.length ?? 0;
      assert.ok(begun > 0, stdout);
      assert.equal(stdout.match(/^\[completed compiling /gm)?.length, begun, stdout);
    }));

  test('runs no hook where there is no snapshot', () =>
    withImported(`${COMMON_JS}${RECORDING}\nexports.handle = () => ran;`, async (guest) => {
      await start(guest, false);
      assert.deepEqual(await result(guest), []);
    }));

  test('runs a hook that another hook of its kind has registered', () =>
    withImported(
      `${COMMON_JS}
const ran = [];
const add = (what) => ran.push(what);
registerBeforeSnapshot(() => { add('before'); registerBeforeSnapshot(add, 'before, inner'); });
registerAfterRestore(() => { add('after'); registerAfterRestore(add, 'after, inner'); });
exports.handle = () => ran;`,
      async (guest) => {
        await seal(guest);
        await start(guest, true);
        assert.deepEqual(await result(guest), ['before', 'before, inner', 'after', 'after, inner']);
      },
    ));

  test('refuses a hook that is no function, and hooks of other threads', () =>
    withImported(
      `${COMMON_JS}
const { Worker } = require('node:worker_threads');
exports.handle = async (event) => {
  if (event === 'no function') return registerAfterRestore(42);
  const worker = new Worker("require('snapfaas').registerAfterRestore(() => {})", { eval: true });
  await new Promise((resolve, reject) => worker.on('error', reject).on('exit', resolve));
};`,
      async (guest) => {
        await start(guest, false);
        const noFunction = failureOf(await guest.invoke('"no function"'));
        assert.deepEqual([noFunction.type, noFunction.message], ['TypeError', 'a hook must be a function, not number']);
        assert.match(failureOf(await guest.invoke('"thread"')).message, /main thread only/);
      },
    ));

  for (const [what, hook, type, message] of [
    ['throws', `() => { throw new RangeError('no such é'); }`, 'RangeError', /^no such é$/],
    ['rejects', `async () => { throw new RangeError('later'); }`, 'RangeError', /^later$/],
    ['throws null', '() => { throw null; }', 'null', /^null$/],
    ['never ends', '() => new Promise(() => {})', 'Runtime.NodeJsExit', /hook never ends/],
    [
      'leaves an error that nobody catches',
      `() => new Promise(() => setTimeout(() => { throw new TypeError('unseen'); }, 5))`,
      'TypeError',
      /^unseen$/,
    ],
  ] as const) {
    for (const phase of ['before', 'after'] as const) {
      test(`reports a hook that ${what} (${phase}) and ends`, async () => {
        const register = phase === 'before' ? 'registerBeforeSnapshot' : 'registerAfterRestore';
        const guest = await importSource(`${COMMON_JS}${register}(${hook});\nexports.handle = () => 1;`);
        if (phase === 'after') await seal(guest);
        const failure = hookFailure(
          phase === 'before'
            ? await guest.command(FrameType.seal, { ...HOOKS })
            : await guest.command(FrameType.start, { restored: true }),
        );
        assert.equal(failure.type, type);
        assert.match(failure.message, message);
        assert.doesNotMatch(failure.stack.join('\n'), /runtime\.cjs|hooks\.cjs|snapfaas\/index/);
        assert.deepEqual(await guest.remove(), { status: 1, signal: null });
      });
    }
  }

  for (const [hook, message, logged] of [
    [`async () => { throw new RangeError('later'); }`, 'RangeError: later', /"errorType":"RangeError"/],
    ['() => { throw null; }', 'string: handled', /"errorMessage":"handled"/],
    [
      '() => { Promise.reject(new RangeError("unseen")); return new Promise(() => setTimeout(() => {}, 1000)); }',
      'Runtime.UnhandledPromiseRejection: RangeError: unseen',
      /"errorType":"Runtime.UnhandledPromiseRejection"/,
    ],
    ['() => new Promise(() => {})', /^Runtime\.NodeJsExit: The Lambda runtime client detected/, /^$/],
  ] as const) {
    for (const [register, type] of [
      ['registerBeforeSnapshot', 'Runtime.BeforeSnapshotError'],
      ['registerAfterRestore', 'Runtime.AfterRestoreError'],
    ] as const) {
      test(`reports a hook that fails as Lambda does, in its style (${register}, ${String(message)})`, async () => {
        const guest = await importSource(`${COMMON_JS}${register}(${hook});\nexports.handle = async () => 1;`, {
          load: { style: 'lambda', handler: 'workload.handle' },
        });
        if (register === 'registerAfterRestore') await seal(guest);
        const failure = hookFailure(
          register === 'registerBeforeSnapshot'
            ? await guest.command(FrameType.seal, { ...HOOKS })
            : await guest.command(FrameType.start, { restored: true }),
        );
        assert.equal(failure.type, type);
        if (typeof message === 'string') assert.equal(failure.message, message);
        else assert.match(failure.message, message);
        assert.doesNotMatch(failure.stack.join('\n'), /runtime\.cjs|hooks\.cjs|snapfaas\/index/);
        assert.deepEqual(await guest.remove(), { status: 1, signal: null });
        assert.match((await guest.printedBy(0)).stdout, logged);
      });
    }
  }

  test('ends when START is not what comes', async () => {
    const guest = await importSource('exports.handle = () => 1;');
    guest.controlChannel.write(encodeFrame(FrameType.drained, undefined));
    assert.deepEqual(await guest.remove(), { status: 1, signal: null });
    assert.match((await guest.printedBy(0)).stderr, /expected SEAL or START, got a frame of type 21/);
  });
});

suite('node runtime: rehearsals', () => {
  for (const handler of [null, 'workload.handle']) {
    test(`are answered, but neither counted nor seen by the function (${handler ?? 'no handler named'})`, () =>
      withImported(
        `let calls = 0;\nexports.handle = () => { console.log('called'); return ++calls; };`,
        async (guest) => {
          await seal(guest);
          await start(guest, true);
          for (const event of ['{"a":[1,"é"]}', '2', 'null']) {
            const reply = await rehearse(guest, event);
            assert.equal(reply.type, FrameType.result);
            assert.equal(reply.payload.toString(), event);
          }
          assert.equal(await result(guest), 1);
          assert.equal((await rehearse(guest, '"between"')).payload.toString(), '"between"');
          assert.equal(await result(guest), 2);
          for (const request of [1, 2]) assert.equal((await guest.printedBy(request)).stdout, 'called\n');
        },
        { load: { handler } },
      ));
  }

  test('do not take a promise that settles late for their own', () =>
    withImported(
      `
let settle;
exports.handle = (event) => {
  const promise = new Promise((resolve) => { settle?.('late'); settle = resolve; });
  if (event === 'slow') setImmediate(() => settle('in time'));
  else settle('at once');
  return promise;
};`,
      async (guest) => {
        await start(guest, false);
        assert.equal(await result(guest, '"slow"'), 'in time');
        assert.equal((await rehearse(guest, '1')).payload.toString(), '1');
        assert.equal(await result(guest), 'at once');
      },
    ));
});
