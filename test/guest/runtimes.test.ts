import assert from 'node:assert/strict';
import { realpath } from 'node:fs/promises';
import { after, before, suite, test } from 'node:test';
import type { Frame } from '../../src/protocol/frame.ts';
import {
  FrameType,
  GUEST_PROTOCOL_VERSION,
  MAX_PAYLOAD_BYTES,
  RESULT_TOO_LARGE,
  type LoadRequest,
} from '../../src/protocol/guest.ts';
import {
  buildNodeRuntime,
  failureOf,
  GuestProcess,
  invocation,
  runningGuests,
  type GuestLanguage,
} from '../support/guest-process.ts';
import { nodeFunctions, pythonFunctions } from './functions.ts';

const functions = { python: pythonFunctions, node: nodeFunctions };

before(buildNodeRuntime);
after(() => assert.equal(runningGuests(), 0, 'every runtime that was started has ended'));

/** Starts a runtime, loads `handler`, and ends both when `use` is done. */
async function withFunction(
  language: GuestLanguage,
  handler: string | null,
  use: (guest: GuestProcess) => Promise<void>,
  load: Partial<LoadRequest> = {},
): Promise<void> {
  const guest = await GuestProcess.start(language, functions[language]);
  try {
    const answer = await guest.load({ handler, ...load });
    assert.equal(answer.type, FrameType.loaded, answer.payload.toString());
    await use(guest);
  } finally {
    await guest.stop();
  }
}

function assertResult(frame: Frame, expected: string): void {
  assert.equal(frame.payload.toString('utf8'), expected);
  assert.equal(frame.type, FrameType.result);
}

function assertFailure(frame: Frame, type: string, message: RegExp): void {
  assert.equal(frame.type, FrameType.failure);
  const failure = failureOf(frame);
  assert.equal(failure.type, type);
  assert.match(failure.message, message);
  assert.ok(Array.isArray(failure.stack));
}

for (const language of ['python', 'node'] as const) {
  const check = (title: string, run: () => Promise<void>) => test(`${language} runtime: ${title}`, run);

  suite(`${language} runtime`, () => {
    check('says hello with its protocol and version', async () => {
      const guest = await GuestProcess.start(language, functions[language]);
      const hello = await guest.nextControlFrame();
      await guest.stop();
      assert.equal(hello.type, FrameType.hello);
      assert.equal(hello.header['protocol'], GUEST_PROTOCOL_VERSION);
      assert.equal(hello.header['runtime'], language === 'python' ? 'python3' : 'nodejs');
      assert.match(String(hello.header['version']), /^\d+\.\d+\.\d+$/);
    });

    check("runs the original's workload and handle when no handler is named", () =>
      withFunction(language, null, async (guest) => {
        assertResult(await guest.invoke('{"a":1}'), '{"got":{"a":1}}');
      }),
    );

    for (const [what, event] of [
      ['unicode', '{"text":"héllo 🌍 \\u0000"}'],
      ['an empty object', '{}'],
      ['null', 'null'],
      ['nested values', '[1,2.5,"x",[true,false,null],{"__proto__":{"a":1}}]'],
    ] as const) {
      check(`hands ${what} through unchanged`, () =>
        withFunction(language, 'app.echo', async (guest) => {
          assertResult(await guest.invoke(event), event);
        }),
      );
    }

    check('hands 6 MiB through unchanged', () =>
      withFunction(language, 'app.echo', async (guest) => {
        const event = JSON.stringify('é'.repeat(MAX_PAYLOAD_BYTES / 2 - 1));
        assert.equal(Buffer.byteLength(event), MAX_PAYLOAD_BYTES);
        for (let round = 0; round < 2; round++) {
          const reply = await guest.invoke(event);
          assert.equal(reply.type, FrameType.result);
          assert.ok(reply.payload.equals(Buffer.from(event)));
        }
        assertResult(await guest.invoke('"small again"'), '"small again"');
      }),
    );

    check('gives a handler with two parameters the context', () =>
      withFunction(
        language,
        'app.context',
        async (guest) => {
          const reply = await guest.invoke('{}', { id: 'the-id', deadline_ms: Date.now() + 30_000 });
          const context = JSON.parse(reply.payload.toString()) as Record<string, unknown>;
          const { remaining, ...rest } = context;
          assert.deepEqual(rest, { id: 'the-id', function: 'named', memory: '256' });
          assert.ok(Number(remaining) > 0 && Number(remaining) <= 30_000, `remaining: ${String(remaining)}`);
          const late = await guest.invoke('{}', { deadline_ms: Date.now() - 1000 });
          assert.equal((JSON.parse(late.payload.toString()) as { remaining: number }).remaining, 0);
        },
        { style: 'lambda', function: 'named', memory_mib: 256 },
      ),
    );

    check('sets the environment before the import and works in the root directory', () =>
      withFunction(
        language,
        'app.where',
        async (guest) => {
          assert.equal((await guest.printedBy(0)).stdout, 'importing hallo\n');
          assertResult(await guest.invoke('{}'), JSON.stringify(await realpath(guest.root)));
        },
        { environment: { GREETING: 'hallo' } },
      ),
    );

    check('finds a handler in a directory', () =>
      withFunction(language, 'deep/er/mod.answer', async (guest) => {
        assertResult(await guest.invoke('{}'), '"from a directory"');
      }),
    );

    check('reports what a handler throws, with its own frames only, and goes on', () =>
      withFunction(language, 'app.throw', async (guest) => {
        for (let round = 0; round < 2; round++) {
          const reply = await guest.invoke('{}');
          assertFailure(reply, language === 'python' ? 'ValueError' : 'TypeError', /^no such é$/);
          const stack = failureOf(reply).stack.join('\n');
          assert.match(stack, /app\.(py|js)/);
          assert.doesNotMatch(stack, /runtime\.(py|cjs)/);
        }
      }),
    );

    check('names the class of a custom error', () =>
      withFunction(language, 'app.throw_custom', async (guest) => {
        assertFailure(await guest.invoke('{}'), 'OutOfCheese', /^redo from start$/);
      }),
    );

    check('answers null for a handler that returns nothing', () =>
      withFunction(language, 'app.nothing', async (guest) => {
        assertResult(await guest.invoke('{}'), 'null');
      }),
    );

    for (const handler of ['unserialisable', 'circular']) {
      check(`refuses a result that is ${handler}`, () =>
        withFunction(language, `app.${handler}`, async (guest) => {
          assertFailure(await guest.invoke('{}'), 'Runtime.MarshalError', /^Unable to marshal response: ./);
          assertFailure(await guest.invoke('{}'), 'Runtime.MarshalError', /^Unable to marshal response: ./);
        }),
      );
    }

    check('refuses an event that is not JSON', () =>
      withFunction(language, 'app.echo', async (guest) => {
        assertFailure(await guest.invoke('{"a":'), 'Runtime.UnmarshalError', /^Unable to unmarshal input: ./);
        assertResult(await guest.invoke('1'), '1');
      }),
    );

    check('survives endless recursion', () =>
      withFunction(language, 'app.recursion', async (guest) => {
        const type = language === 'python' ? 'RecursionError' : 'RangeError';
        assertFailure(await guest.invoke('{}'), type, /recursion|call stack/);
        assertFailure(await guest.invoke('{}'), type, /recursion|call stack/);
      }),
    );

    check('cuts a failure that is too long to be passed on', () =>
      withFunction(language, 'app.big_stack', async (guest) => {
        const reply = await guest.invoke('{}');
        assertFailure(reply, language === 'python' ? 'ValueError' : 'Error', /^x+ \[cut\]$/);
        assert.ok(reply.payload.length < 64 * 1024);
      }),
    );

    check('refuses a result over the limit and goes on', () =>
      withFunction(
        language,
        'app.large',
        async (guest) => {
          assertResult(await guest.invoke('98'), `"${'x'.repeat(98)}"`);
          assertFailure(await guest.invoke('99'), RESULT_TOO_LARGE, /101 bytes; at most 100/);
          assertResult(await guest.invoke('1'), '"x"');
        },
        { max_result_bytes: 100 },
      ),
    );

    check('keeps output apart from the protocol, even if it looks like frames', () =>
      withFunction(language, 'app.look_like_frames', async (guest) => {
        assertResult(await guest.invoke('{}'), '"real"');
        const printed = await guest.printedBy(1);
        assert.equal(printed.stdout, '\0\0\0\x05\x02\0\0{}'.repeat(3));
        assert.equal(printed.stderr, '\0\0\0\x03\x14\0\0');
      }),
    );

    check('has written all output of an invocation when it is done', () =>
      withFunction(language, 'app.print_text', async (guest) => {
        for (let request = 1; request <= 3; request++) {
          assertResult(await guest.invoke(`{"text":"é ${request}"}`), '"printed"');
        }
        for (let request = 1; request <= 3; request++) {
          assert.deepEqual(await guest.printedBy(request), {
            stdout: `é ${request}\npartial`,
            stderr: 'to stderr\n',
          });
        }
      }),
    );

    check('prints 1 MiB without loss', () =>
      withFunction(language, 'app.print_much', async (guest) => {
        assertResult(await guest.invoke('{}'), '"printed"');
        assert.equal((await guest.printedBy(1)).stdout.length, 1024 * 1024);
      }),
    );

    check('keeps its channels from the children of the function', () =>
      withFunction(language, 'app.children_see', async (guest) => {
        const reply = await guest.invoke('{}');
        assert.equal(reply.type, FrameType.result);
        const descriptors = String(JSON.parse(reply.payload.toString()));
        assert.match(descriptors, /\b2 (-> )?(pipe|socket):/);
        // 0 to 2 are what the function gave its child.
        assert.doesNotMatch(descriptors, /\b([3-9]|\d\d+) (-> )?socket:/);
      }),
    );

    for (const handler of ['leave', 'leave_at_once']) {
      check(`ends with the status of the function (${handler})`, async () => {
        const guest = await GuestProcess.start(language, functions[language]);
        assert.equal((await guest.load({ handler: `app.${handler}` })).type, FrameType.loaded);
        guest.send('7');
        await assert.rejects(guest.nextFunctionFrame());
        assert.deepEqual(await guest.remove(), { status: 7, signal: null });
        if (handler === 'leave') assert.equal((await guest.printedBy(1)).stdout, 'bye\n');
      });
    }

    check('ends with an error when the function closes all descriptors', async () => {
      const guest = await GuestProcess.start(language, functions[language]);
      assert.equal((await guest.load({ handler: 'app.close_all' })).type, FrameType.loaded);
      guest.send('{}');
      await assert.rejects(guest.nextFunctionFrame());
      const exit = await guest.remove();
      assert.ok(exit.status !== 0, 'it does not end as if all were well');
      assert.notEqual(exit.signal, 'SIGKILL', 'it ends by itself');
    });

    for (const [handler, type, message] of [
      ['missing.handle', 'Runtime.ImportModuleError', /missing/],
      ['needs.handle', 'Runtime.ImportModuleError', /surely.not.there/],
      ['broken.handle', 'Runtime.UserCodeSyntaxError', /yntax/],
      ['raises.handle', language === 'python' ? 'LookupError' : 'RangeError', /^at import$/],
      ['app.missing', 'Runtime.HandlerNotFound', /missing/],
      ['app.not_a_function', 'Runtime.HandlerNotFound', /not a function/],
      ['app', 'Runtime.MalformedHandlerName', /Bad handler 'app'/],
      ['../app.echo', 'Runtime.MalformedHandlerName', /Bad handler/],
    ] as const) {
      check(`reports a failed load (${handler}) and ends`, async () => {
        const guest = await GuestProcess.start(language, functions[language]);
        const reply = await guest.load({ handler });
        assert.equal(reply.type, FrameType.loadFailed);
        const failure = failureOf(reply);
        assert.equal(failure.type, type);
        assert.match(failure.message, message);
        assert.doesNotMatch(failure.stack.join('\n'), /runtime\.(py|cjs)/);
        assert.deepEqual(await guest.remove(), { status: 1, signal: null });
        if (handler === 'raises.handle') assert.equal((await guest.printedBy(0)).stdout, 'about to fail\n');
      });
    }

    check('ends with the status of a function that leaves while it is imported', async () => {
      const guest = await GuestProcess.start(language, functions[language]);
      await assert.rejects(guest.load({ handler: 'leaves.handle' }));
      assert.deepEqual(await guest.remove(), { status: 9, signal: null });
    });

    check('reads an invocation that comes in single bytes', () =>
      withFunction(language, 'app.echo', async (guest) => {
        for (let round = 0; round < 2; round++) {
          for (const byte of invocation(`{"round":${round}}`)) {
            await new Promise((resolve) => guest.functionChannel.write(Buffer.of(byte), resolve));
          }
          assertResult(await guest.nextFunctionFrame(), `{"round":${round}}`);
        }
      }),
    );

    check('reads two invocations that come glued together', () =>
      withFunction(language, 'app.echo', async (guest) => {
        const large = JSON.stringify('x'.repeat(65_500));
        const events = ['1', '{"second":2}', large, large, '3'];
        guest.functionChannel.write(Buffer.concat(events.map((event) => invocation(event))));
        for (const event of events) assertResult(await guest.nextFunctionFrame(), event);
      }),
    );

    check('ends with 0 when the host is gone', async () => {
      const guest = await GuestProcess.start(language, functions[language]);
      assert.equal((await guest.load()).type, FrameType.loaded);
      assertResult(await guest.invoke('1'), '{"got":1}');
      assert.deepEqual(await guest.stop(), { status: 0, signal: null });
      assert.equal((await guest.printedBy(1)).stderr, '');
    });

    check('ends with 0 when the host is gone before it loads anything', async () => {
      const guest = await GuestProcess.start(language, functions[language]);
      await guest.nextControlFrame();
      assert.deepEqual(await guest.stop(), { status: 0, signal: null });
    });

    check('ends with an error when the stream is broken', async () => {
      const guest = await GuestProcess.start(language, functions[language]);
      assert.equal((await guest.load()).type, FrameType.loaded);
      guest.functionChannel.write(Buffer.alloc(64, 0xff));
      assert.deepEqual(await guest.remove(), { status: 1, signal: null });
      assert.match((await guest.printedBy(1)).stderr, /lost its channel: a frame of 4294967295 bytes/);
    });
  });
}

for (const [what, handle, expected] of [
  ['takes one', 'def handle(request):\n    return [request]', '[1]'],
  ['takes two', 'def handle(request, context):\n    return [request, context.function_name]', '[1,"under-test"]'],
  ['hands on what it gets', '@passes_on\ndef handle(request):\n    return [request]', '[1]'],
  [
    'hands on what it gets, both',
    '@passes_on\ndef handle(request, context):\n    return [request, context.function_name]',
    '[1,"under-test"]',
  ],
  ['unpacks for another', '@unpacks\ndef handle(request):\n    return [request]', '["under-test",[1]]'],
  [
    'is a method',
    'class Service:\n    def handle(self, request):\n        return [request]\nhandle = Service().handle',
    '[1]',
  ],
] as const) {
  test(`python runtime: a handler that ${what} gets what it takes`, async () => {
    const decorators = `
import functools
def passes_on(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper
def unpacks(function):
    @functools.wraps(function)
    def wrapper(request, context):
        return [context.function_name, function(request)]
    return wrapper
`;
    const guest = await GuestProcess.start('python', { 'workload.py': `${decorators}${handle}\n` });
    assert.equal((await guest.load()).type, FrameType.loaded);
    assertResult(await guest.invoke('1'), expected);
    await guest.stop();
  });
}

test('python runtime: keeps big integers exact', () =>
  withFunction('python', 'app.echo', async (guest) => {
    assertResult(await guest.invoke('[123456789012345678901234567890,1.5]'), '[123456789012345678901234567890,1.5]');
  }));

for (const handler of ['nan', 'lone_surrogate']) {
  test(`python runtime: refuses a result JSON cannot carry (${handler})`, () =>
    withFunction('python', `app.${handler}`, async (guest) => {
      assertFailure(await guest.invoke('{}'), 'Runtime.MarshalError', /^Unable to marshal response: ./);
    }));
}

for (const [handler, result] of [
  ['inside.answer', '"from package"'],
  ['inside_lib.answer', '"from lib"'],
  ['deep.er.mod.answer', '"from a directory"'],
] as const) {
  test(`python runtime: imports from package, lib and dotted paths (${handler})`, () =>
    withFunction('python', handler, async (guest) => {
      assertResult(await guest.invoke('{}'), result);
    }));
}

for (const [what, handler, event, result] of [
  ['waits for a promise', 'app.later', '{"a":1}', '{"a":1}'],
  ['writes NaN as null, as JSON.stringify does', 'app.nan', '{}', 'null'],
  ['imports an ES module', 'module.answer', '{}', '"function"'],
  ['imports a .cjs module', 'common.answer', '{}', '"from cjs"'],
  ['finds a nested export', 'app.nested.deeper', '{}', '"found"'],
] as const) {
  test(`node runtime: ${what}`, () =>
    withFunction('node', handler, async (guest) => {
      assertResult(await guest.invoke(event), result);
      assertResult(await guest.invoke(event), result);
    }));
}

for (const [handler, type, message] of [
  ['throw_text', 'string', /^just text$/],
  ['throw_null', 'null', /^null$/],
  ['never', 'Runtime.NodeJsExit', /event loop is empty/],
] as const) {
  test(`node runtime: reports a handler that fails in its own way (${handler}) and goes on`, () =>
    withFunction('node', `app.${handler}`, async (guest) => {
      assertFailure(await guest.invoke('{}'), type, message);
      assertFailure(await guest.invoke('{}'), type, message);
    }));
}

for (const [handler, message] of [
  ['throw_later', /^nobody catches$/],
  ['reject_unseen', /^nobody awaits$/],
] as const) {
  test(`node runtime: answers an error that nobody caught (${handler}), then ends`, async () => {
    const guest = await GuestProcess.start('node', nodeFunctions);
    assert.equal((await guest.load({ handler: `app.${handler}` })).type, FrameType.loaded);
    assertFailure(await guest.invoke('{}'), 'RangeError', message);
    assert.deepEqual(await guest.remove(), { status: 1, signal: null });
  });
}

test('node runtime: leaves a rejection to a listener of the function', () =>
  withFunction('node', 'app.reject_heard', async (guest) => {
    assertResult(await guest.invoke('{}'), '"heard"');
  }));

test('node runtime: reports an import that never ends', async () => {
  const guest = await GuestProcess.start('node', nodeFunctions);
  const reply = await guest.load({ handler: 'hangs.handle' });
  assert.equal(reply.type, FrameType.loadFailed);
  assert.equal(failureOf(reply).type, 'Runtime.NodeJsExit');
  assert.deepEqual(await guest.remove(), { status: 1, signal: null });
});

test('python runtime: obeys the path files of packages that were brought', async () => {
  const place = '.snapfaas/root/usr/local/lib/python3.11/dist-packages';
  const guest = await GuestProcess.start('python', {
    'workload.py': 'import sys, only_here\ndef handle(request): return [only_here.VALUE, sys.seen]',
    [`${place}/a.pth`]: 'extra\nimport sys; sys.seen = ["a"]\n',
    [`${place}/b.pth`]: 'missing\nimport sys; sys.seen.append("b")\n',
    [`${place}/.c.pth`]: 'import sys; sys.seen.append("c")\n',
    [`${place}/extra/only_here.py`]: 'VALUE = 1\n',
  });
  try {
    const loaded = await guest.load();
    assert.equal(loaded.type, FrameType.loaded, loaded.payload.toString());
    assert.equal((await guest.invoke('null')).payload.toString(), '[1,["a","b"]]');
  } finally {
    await guest.stop();
  }
});
