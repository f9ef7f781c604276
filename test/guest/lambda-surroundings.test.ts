/** What a function of Lambda's style does to the runtime around it, and finds there: streams, names of modules, children. */
import assert from 'node:assert/strict';
import { chmod } from 'node:fs/promises';
import { after, before, suite, test } from 'node:test';
import { FrameType, type LoadRequest } from '../../src/protocol/guest.ts';
import {
  buildNodeRuntime,
  failureOf,
  GuestProcess,
  runningGuests,
  type GuestLanguage,
} from '../support/guest-process.ts';
import { nodeAbuser, nodeStreamAbuse, pythonAbuser, pythonStreamAbuse } from './lambda-streams-of-function.ts';

before(buildNodeRuntime);
after(() => assert.equal(runningGuests(), 0, 'every runtime that was started has ended'));

type Files = Readonly<Record<string, string>>;

async function withFiles(
  language: GuestLanguage,
  files: Files,
  load: Partial<LoadRequest>,
  use: (guest: GuestProcess) => Promise<void>,
): Promise<void> {
  const guest = await GuestProcess.start(language, files);
  try {
    const answer = await guest.load({ style: 'lambda', ...load });
    assert.equal(answer.type, FrameType.loaded, answer.payload.toString());
    await use(guest);
  } finally {
    await guest.stop();
  }
}

async function resultOf(guest: GuestProcess, event = '{}'): Promise<unknown> {
  const reply = await guest.invoke(event);
  assert.equal(reply.type, FrameType.result, reply.payload.toString());
  return JSON.parse(reply.payload.toString());
}

const abusers = {
  python: { file: 'app.py', make: pythonAbuser, abuse: pythonStreamAbuse, error: 'ValueError' },
  node: { file: 'app.js', make: nodeAbuser, abuse: nodeStreamAbuse, error: 'TypeError' },
} as const;

for (const language of ['python', 'node'] as const) {
  const { file, make, abuse, error } = abusers[language];
  suite(`the log of a function that does things to its streams, ${language}`, () => {
    for (const [what, code] of Object.entries(abuse)) {
      for (const format of ['Text', 'JSON'] as const) {
        test(`${language}: a function that ${what} goes on logging (${format}), and its log is not in its results`, () =>
          withFiles(
            language,
            { [file]: make(code) },
            { handler: 'app.handler', environment: { AWS_LAMBDA_LOG_FORMAT: format } },
            async (guest) => {
              const events = ['{"first":true}', '{}'];
              for (const event of events) assert.deepEqual(await resultOf(guest, event), ['', JSON.parse(event)]);
              const failed = await guest.invoke('{"fail":true}');
              assert.equal(failureOf(failed).type, error);
              for (const [at, number] of [1, 2, 3].entries()) {
                const { stdout } = await guest.printedBy(number);
                assert.match(stdout, /logged/, `invocation ${number}: ${stdout}`);
                assert.match(stdout, /plain/, `invocation ${number}: ${stdout}`);
                if (at === 2) assert.match(stdout, new RegExp(`${error}.*failed|failed.*${error}`));
              }
            },
          ));
      }
    }
  });
}

test('node: console.log after process.stdout.end() does not end the process, nor does a write later on', () =>
  withFiles(
    'node',
    {
      'app.js': `exports.handler = async (event) => {
        if (event.end) { process.stdout.end(); console.log('one'); return 'ended'; }
        process.stdout.write('written\\n');
        return 'fine';
      };`,
    },
    { handler: 'app.handler' },
    async (guest) => {
      assert.equal(await resultOf(guest, '{"end":true}'), 'ended');
      assert.equal(await resultOf(guest), 'fine');
      assert.match((await guest.printedBy(1)).stdout, /one/);
      assert.equal((await guest.printedBy(2)).stdout, 'written\n');
    },
  ));

suite('names of modules, python', () => {
  // Each imports what its neighbours hide, if they are searched first.
  const uses = `import email.message, http.client, json, logging, queue, secrets, types, calendar, traceback
def handler(event, context):
    logging.getLogger().warning('logged')
    return [queue.Queue.__module__, http.client.OK, secrets.token_hex(1) != '', calendar.day_name[0]]
`;
  const broken = 'raise ImportError("hidden")\n';
  const names = [
    'http',
    'json',
    'logging',
    'queue',
    'email',
    'types',
    'secrets',
    'calendar',
    'runtime',
    'snapfaas_load',
  ];
  for (const folder of ['lib', 'package']) {
    test(`python: files in ${folder}/ hide nothing of the standard library`, () =>
      withFiles(
        'python',
        { 'app.py': uses, ...Object.fromEntries(names.map((name) => [`${folder}/${name}.py`, broken])) },
        { handler: 'app.handler' },
        async (guest) => assert.deepEqual(await resultOf(guest), ['queue', 200, true, 'Monday']),
      ));
  }

  test('python: modules in package/ and lib/ are found behind all others', () =>
    withFiles(
      'python',
      {
        'app.py': 'import one, two, three\ndef handler(event, context): return [one.where, two.where, three.where]\n',
        'one.py': 'where = "root"\n',
        'package/one.py': 'where = "package"\n',
        'package/two.py': 'where = "package"\n',
        'lib/two.py': 'where = "lib"\n',
        'lib/three.py': 'where = "lib"\n',
      },
      { handler: 'app.handler' },
      async (guest) => assert.deepEqual(await resultOf(guest), ['root', 'package', 'lib']),
    ));

  test("python: the original's handlers find package/ and lib/ in front, as ever", () =>
    withFiles(
      'python',
      {
        'workload.py': 'import queue\ndef handle(request): return queue.where\n',
        'lib/queue.py': 'where = "lib"\n',
      },
      { style: 'original' },
      async (guest) => assert.equal(await resultOf(guest), 'lib'),
    ));

  test('python: what Lambda has imported before the function is not taken from its files, what it has not is', () =>
    withFiles(
      'python',
      {
        'app.py': `import decimal, logging, traceback, queue
def handler(event, context): return [hasattr(decimal, 'Decimal'), hasattr(logging, 'Logger'), hasattr(traceback, 'format_list'), queue.where]
`,
        'queue.py': 'where = "mine"\n',
        ...Object.fromEntries(
          ['decimal', 'logging', 'traceback', 'linecache', 'json', 'os'].map((name) => [`${name}.py`, broken]),
        ),
      },
      { handler: 'app.handler' },
      async (guest) => assert.deepEqual(await resultOf(guest), [true, true, true, 'mine']),
    ));

  test("python: names of the runtime's own modules are the function's", () =>
    withFiles(
      'python',
      {
        'snapfaas_load.py': 'from runtime import mine\ndef handler(event, context): return mine\n',
        'runtime.py': 'mine = "mine"\n',
      },
      { handler: 'snapfaas_load.handler' },
      async (guest) => assert.equal(await resultOf(guest), 'mine'),
    ));

  test("python: the runtime's own modules cannot be imported", () =>
    withFiles(
      'python',
      {
        'app.py': `import importlib, subprocess, sys
def found(name):
    try:
        importlib.import_module(name)
        return True
    except ImportError:
        return False
def handler(event, context):
    child = 'import sys; sys.exit(any("snapfaas" in entry for entry in sys.path))'
    return [[name for name in ('runtime', 'snapfaas_main', 'snapfaas_load') if found(name)],
            [entry for entry in sys.path if 'runtimes' in entry], subprocess.call([sys.executable, '-c', child])]
`,
      },
      { handler: 'app.handler' },
      async (guest) => assert.deepEqual(await resultOf(guest), [[], [], 0]),
    ));
});

suite('processes of a function, python', () => {
  const app = `import __main__, concurrent.futures, json, multiprocessing, os, subprocess, sys, time
class Point:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return self.x == other.x
def square(x):
    print('in a child')
    return x * x
def send(connection, point):
    connection.send(point)
def handler(event, context):
    how = multiprocessing.get_context(event)
    process = how.Process(target=square, args=(3,))
    process.start()
    process.join()
    ours, theirs = how.Pipe()
    sender = how.Process(target=send, args=(theirs, Point(5)))
    sender.start()
    point = ours.recv()
    sender.join()
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=how) as pool:
        return [process.exitcode, point == Point(5), pool.submit(square, 7).result()]
`;
  for (const method of ['fork', 'spawn', 'forkserver']) {
    for (const output of ['pipes', 'frames'] as const) {
      test(`python: multiprocessing by ${method}, output as ${output}`, () =>
        withFiles('python', { 'app.py': app }, { handler: 'app.handler', output }, async (guest) => {
          assert.deepEqual(await resultOf(guest, JSON.stringify(method)), [0, true, 49]);
          assert.deepEqual(await resultOf(guest, JSON.stringify(method)), [0, true, 49]);
        }));
    }
  }

  test("python: the original's handlers may start processes as well", () =>
    withFiles(
      'python',
      { 'workload.py': app.replace('def handler(event, context)', 'def handle(event)') },
      { style: 'original' },
      async (guest) => assert.deepEqual(await resultOf(guest, '"spawn"'), [0, true, 49]),
    ));

  test("python: a child interpreter finds the standard library first, and the function's modules beside it", () =>
    withFiles(
      'python',
      {
        'app.py': `import subprocess, sys
def handler(event, context):
    code = 'import http.client, helper; print(helper.name)'
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout
`,
        'helper.py': 'name = "helper"\n',
        'lib/http.py': broken(),
        'package/http.py': broken(),
      },
      { handler: 'app.handler' },
      async (guest) => assert.equal(await resultOf(guest), 'helper\n'),
    ));

  function broken(): string {
    return 'raise ImportError("hidden")\n';
  }
});

suite('AWS_LAMBDA_EXEC_WRAPPER', () => {
  const wrapper = (body: string): string => `#!/bin/sh\n${body}\n`;
  const files = {
    python: {
      'app.py': `import os, sys
def handler(event, context): return ['first', os.environ.get('FROM_WRAPPER'), os.getcwd(), sys.flags.optimize]
def other(event, context): return ['other', os.environ.get('FROM_WRAPPER'), os.getcwd(), sys.flags.optimize]
`,
    },
    node: {
      'app.js': `const answer = (name) => async () =>
  [name, process.env.FROM_WRAPPER, process.cwd(), process.execArgv.includes('--use-strict') ? 1 : 0];
exports.handler = answer('first'); exports.other = answer('other');`,
    },
  } as const;
  const option = { python: '-O', node: '--use-strict' } as const;

  for (const language of ['python', 'node'] as const) {
    const withWrapper = async (
      body: string,
      use: (guest: GuestProcess, answer: number) => Promise<void>,
    ): Promise<void> => {
      const guest = await GuestProcess.start(language, { ...files[language], wrapper: wrapper(body) });
      await chmod(`${guest.root}/wrapper`, 0o755);
      const environment = { AWS_LAMBDA_EXEC_WRAPPER: `${guest.root}/wrapper` };
      const { type } = await guest
        .load({ style: 'lambda', handler: 'app.handler', environment })
        .catch(() => ({ type: 0 }));
      await use(guest, type);
    };

    test(`${language}: the wrapper gets the runtime's command, and its environment is the function's`, () =>
      withWrapper('echo "in the wrapper"\nexport FROM_WRAPPER=1\nexec "$@"', async (guest, answer) => {
        assert.equal(answer, FrameType.loaded);
        assert.deepEqual(await resultOf(guest), ['first', '1', guest.root, 0]);
        assert.deepEqual(await resultOf(guest), ['first', '1', guest.root, 0]);
        assert.match((await guest.printedBy(0)).stdout, /^in the wrapper\n/);
        assert.equal((await guest.stop()).status, 0);
      }));

    test(`${language}: the wrapper may change the handler and the interpreter's options, as Lambda's documentation shows`, () =>
      withWrapper(
        `export _HANDLER=app.other\ninterpreter=$1; shift\nexec "$interpreter" ${option[language]} "$@"`,
        async (guest, answer) => {
          assert.equal(answer, FrameType.loaded);
          assert.deepEqual(await resultOf(guest), ['other', null, guest.root, 1]);
          await guest.stop();
        },
      ));

    test(`${language}: a wrapper that ends takes the runtime with it`, () =>
      withWrapper('exit 7', async (guest, answer) => {
        assert.equal(answer, 0);
        assert.deepEqual(await guest.remove(), { status: 7, signal: null });
      }));

    test(`${language}: a wrapper that is not there is named`, async () => {
      const guest = await GuestProcess.start(language, files[language]);
      const environment = { AWS_LAMBDA_EXEC_WRAPPER: '/opt/nowhere' };
      await assert.rejects(guest.load({ style: 'lambda', handler: 'app.handler', environment }));
      assert.deepEqual(await guest.remove(), { status: 127, signal: null });
      assert.match((await guest.printedBy(0)).stderr, /AWS_LAMBDA_EXEC_WRAPPER: \/opt\/nowhere cannot be started/);
    });

    test(`${language}: a wrapped runtime takes part in a snapshot`, async () => {
      const guest = await GuestProcess.start(language, { ...files[language], wrapper: wrapper('exec "$@"') });
      await chmod(`${guest.root}/wrapper`, 0o755);
      const environment = { AWS_LAMBDA_EXEC_WRAPPER: `${guest.root}/wrapper` };
      const load = { style: 'lambda', handler: 'app.handler', environment } as const;
      assert.equal((await guest.import(load)).type, FrameType.loaded);
      assert.equal((await guest.command(FrameType.seal, { step: 'hooks' })).type, FrameType.sealed);
      assert.equal((await guest.command(FrameType.start, { restored: true })).type, FrameType.started);
      assert.deepEqual(((await resultOf(guest)) as unknown[])[0], 'first');
      await guest.stop();
    });
  }
});

suite('what the runtime needs of the language and of Node, node', () => {
  const replacements = {
    'fake timers': `for (const name of ['setImmediate', 'setTimeout', 'setInterval', 'queueMicrotask']) globalThis[name] = () => 0;
globalThis.Date = class {};`,
    'JSON.stringify that refuses all but results': `const { stringify } = JSON;
JSON.stringify = (value, ...more) => { if (!Array.isArray(value)) throw new Error('not mine'); return stringify(value, ...more); };`,
    'fs that throws': `const fs = require('node:fs');
for (const name of ['writeSync', 'readSync', 'openSync', 'closeSync', 'fstatSync', 'write']) fs[name] = () => { throw new Error('none'); };`,
    'process.exit that does not': 'process.exit = () => {};',
    'prototypes that are frozen': `for (const one of [Object, Array, Function, Promise, Error, Map, Set, Date]) Object.freeze(one.prototype);`,
    'prototypes that have more': `Object.prototype.type = 1; Array.prototype.message = 2; Object.prototype.get = () => 1;`,
  };
  for (const [what, code] of Object.entries(replacements)) {
    for (const at of ['import', 'invocation'] as const) {
      test(`node: a function may have ${what}, from its ${at} on`, () =>
        withFiles(
          'node',
          {
            'app.js': `${at === 'import' ? code : ''}
exports.handler = async (event, context) => {
  ${at === 'import' ? '' : `if (event.first) { ${code} }`}
  if (event.fail) throw new TypeError('failed');
  console.log('logged');
  return ['answered', context.awsRequestId !== ''];
};`,
          },
          { handler: 'app.handler' },
          async (guest) => {
            for (const event of ['{"first":true}', '{}']) {
              assert.deepEqual(await resultOf(guest, event), ['answered', true]);
            }
            const { type, message } = failureOf(await guest.invoke('{"fail":true}'));
            assert.deepEqual([type, message], ['TypeError', 'failed']);
            assert.match((await guest.printedBy(2)).stdout, /^\d{4}-\S+Z\t\S+\tINFO\tlogged\n$/);
            assert.match((await guest.printedBy(3)).stdout, /TypeError.*failed/);
            assert.deepEqual(await guest.stop(), { status: 0, signal: null });
          },
        ));
    }
  }
});

suite('variables that an interpreter reads only when it starts', () => {
  const python =
    'import os, sys, warnings\ndef handler(event, context): return [os.getpid() > 0, %]\nhandle = handler\n';
  const node = 'exports.handler = async () => [process.pid > 0, %]; exports.handle = exports.handler;';
  const tables = [
    ['python', python, { PYTHONOPTIMIZE: '2' }, 'sys.flags.optimize', 2],
    ['python', python, { PYTHONHASHSEED: '0' }, 'hash("a") == hash("a") and sys.flags.hash_randomization', 0],
    ['python', python, { PYTHONWARNINGS: 'error' }, 'warnings.filters[0][0]', 'error'],
    ['python', python, { PYTHONDEVMODE: '1' }, 'sys.flags.dev_mode', true],
    ['python', python, { PYTHONUNBUFFERED: '1' }, 'os.environ.get("_SNAPFAAS_LOAD_FD")', null],
    ['python', python, { PYTHONOPTIMIZE: '' }, 'sys.flags.optimize', 0],
    ['node', node, { NODE_OPTIONS: '--enable-source-maps' }, 'process.sourceMapsEnabled', true],
    ['node', node, { NODE_OPTIONS: '--stack-trace-limit=3 --no-deprecation' }, 'process.noDeprecation', true],
    ['node', node, { NODE_OPTIONS: '--require ./before.js' }, 'globalThis.before', 'ran'],
    ['node', node, { NODE_OPTIONS: '--enable-source-maps --require ./before.js' }, 'globalThis.before', 'ran'],
    ['node', node, { NODE_OPTIONS: ' ' }, 'process.env._SNAPFAAS_LOAD_FD ?? null', null],
    ['node', node, { MALLOC_ARENA_MAX: '1' }, 'process.env.MALLOC_ARENA_MAX', '1'],
  ] as const;
  for (const style of ['lambda', 'original'] as const) {
    for (const [language, source, environment, expression, expected] of tables) {
      test(`${language}, ${style}: ${JSON.stringify(environment)} has its effect`, () =>
        withFiles(
          language,
          {
            [language === 'python' ? 'workload.py' : 'workload.js']: source.replace('%', expression),
            'before.js': 'globalThis.before = "ran";',
          },
          { style, environment, handler: style === 'lambda' ? 'workload.handler' : null },
          async (guest) => assert.deepEqual(await resultOf(guest), [true, expected]),
        ));
    }
  }

  test('node: options that Node refuses end it as on AWS, and it says which', async () => {
    const guest = await GuestProcess.start('node', { 'app.js': 'exports.handler = async () => 1;' });
    await assert.rejects(
      guest.load({ style: 'lambda', handler: 'app.handler', environment: { NODE_OPTIONS: '--bogus' } }),
    );
    assert.deepEqual(await guest.remove(), { status: 9, signal: null });
    assert.match((await guest.printedBy(0)).stderr, /--bogus is not allowed in NODE_OPTIONS/);
  });
});

suite('unusual names of handlers', () => {
  const names = [
    ['.build/v1.2/index.handler', '.build/v1.2/index.js'],
    ['./src/index.handler', 'src/index.js'],
    ['@scope/part/index.handler', '@scope/part/index.js'],
    ['my dir/with spaces.handler', 'my dir/with spaces.js'],
    ['größe/ünï.handler', 'größe/ünï.js'],
    ['node_modules/x.y/main.nested.handler', 'node_modules/x.y/main.js'],
    ['.next/server.handler', '.next/server.mjs'],
  ] as const;
  for (const [handler, file] of names) {
    test(`node: ${handler} is in ${file}`, () => {
      const value = `async () => ${JSON.stringify(file)}`;
      const script = file.endsWith('.mjs')
        ? `export const handler = ${value};`
        : `exports.handler = ${value}; exports.nested = exports;`;
      return withFiles('node', { [file]: script }, { handler }, async (guest) =>
        assert.equal(await resultOf(guest), file),
      );
    });
  }
  for (const [handler, file] of [
    ['größe/ünï.handler', 'größe/ünï.py'],
    ['my dir/with spaces.handler', 'my dir/with spaces.py'],
    ['@scope/part.handler', '@scope/part.py'],
    ['pkg-1/mod-2.handler', 'pkg-1/mod-2.py'],
  ] as const) {
    test(`python: ${handler} is in ${file}`, () =>
      withFiles('python', { [file]: 'def handler(event, context): return __file__\n' }, { handler }, async (guest) =>
        assert.equal(await resultOf(guest), `${guest.root}/${file}`),
      ));
  }

  for (const [language, handler, type, message] of [
    ['node', 'nodots', 'Runtime.MalformedHandlerName', 'Bad handler'],
    ['node', '../up.handler', 'Runtime.MalformedHandlerName', /^'\.\.\/up\.handler' is not a valid handler name\./],
    ['node', 'app.', 'Runtime.HandlerNotFound', 'app. is undefined or not exported'],
    ['python', 'nodots', 'Runtime.MalformedHandlerName', /^Bad handler 'nodots': not enough values to unpack/],
    ['python', 'app.', 'Runtime.HandlerNotFound', "Handler '' missing on module 'app'"],
    ['python', 'json.handler', 'Runtime.HandlerNotFound', "Handler 'handler' missing on module 'json'"],
    ['python', './app.handler', 'TypeError', /relative import/],
    ['python', '.handler', 'ValueError', 'Empty module name'],
  ] as const) {
    test(`${language}: the handler ${handler} is ${type}`, async () => {
      const guest = await GuestProcess.start(language, { 'app.py': '', 'app.js': '' });
      const answer = await guest.load({ handler, style: 'lambda' });
      assert.equal(answer.type, FrameType.loadFailed);
      const failure = failureOf(answer);
      assert.equal(failure.type, type);
      if (typeof message === 'string') assert.equal(failure.message, message);
      else assert.match(failure.message, message);
      await guest.remove();
    });
  }
});

suite('package.json as Node reads it', () => {
  const esm = 'export const handler = async () => typeof require;';
  for (const [what, description, file] of [
    ['a byte order mark', '\uFEFF{"type":"module"}', esm],
    ['a byte order mark and no type', '\uFEFF{"name":"x"}', 'exports.handler = async () => "undefined";'],
  ] as const) {
    test(`node: with ${what}`, () =>
      withFiles(
        'node',
        { 'package.json': description, 'index.js': file },
        { handler: 'index.handler' },
        async (guest) => assert.equal(await resultOf(guest), 'undefined'),
      ));
  }

  test('node: one that Node does not read is told by its name', async () => {
    const guest = await GuestProcess.start('node', { 'package.json': '{"type": module}', 'index.js': '' });
    const answer = await guest.load({ handler: 'index.handler', style: 'lambda' });
    assert.equal(answer.type, FrameType.loadFailed);
    assert.match(failureOf(answer).message, /package\.json/);
    await guest.remove();
  });
});
