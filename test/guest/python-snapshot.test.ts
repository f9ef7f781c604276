import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeFrame, type Frame } from '../../src/protocol/frame.ts';
import { FrameType, type FunctionFailure, type LoadRequest } from '../../src/protocol/guest.ts';
import { failureOf, GuestProcess, runningGuests } from '../support/guest-process.ts';

after(() => assert.equal(runningGuests(), 0, 'every runtime that was started has ended'));

const HOOKS = { step: 'hooks' } as const;
const GENERATORS = { step: 'generators' } as const;
/** How long a runtime with busy threads is kept sealed, in ms: longer than a turn of any of them. */
const HELD_MS = 1000;

/** Imports `source` as the function's only module and hands the runtime over before START. */
async function withImported(
  source: string,
  use: (guest: GuestProcess) => Promise<void>,
  load: Partial<LoadRequest> = {},
): Promise<void> {
  const files = { 'workload.py': source, 'package/snapshot_restore_py.py': 'raise RuntimeError("a bundled copy")\n' };
  const guest = await GuestProcess.start('python', files);
  try {
    const loaded = await guest.import(load);
    assert.equal(loaded.type, FrameType.loaded, loaded.payload.toString());
    await use(guest);
  } finally {
    await guest.stop();
  }
}

async function seal(guest: GuestProcess, header: { step: string } = HOOKS): Promise<void> {
  const answer = await guest.command(FrameType.seal, header);
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

function hookFailure(answer: Frame): FunctionFailure {
  assert.equal(answer.type, FrameType.hookFailed);
  return failureOf(answer);
}

const RECORDING = `
from snapshot_restore_py import register_before_snapshot, register_after_restore
ran = []
def record(*args, **kwargs):
    print("hook", *args)
    ran.append([list(args), kwargs])
@register_before_snapshot
def first():
    record("before 1")
register_before_snapshot(record, "before 2", with_keyword=True)
register_after_restore(record, "after 1", with_keyword=True)
@register_after_restore
def second():
    record("after 2")
def handle(event):
    return ran
`;

suite('python runtime around a snapshot', () => {
  test('runs hooks before the snapshot last to first, and those after the restore first to last', () =>
    withImported(RECORDING, async (guest) => {
      await seal(guest);
      await seal(guest, GENERATORS);
      await start(guest, true);
      assert.deepEqual(await result(guest), [
        [['before 2'], { with_keyword: true }],
        [['before 1'], {}],
        [['after 1'], { with_keyword: true }],
        [['after 2'], {}],
      ]);
      const printed = (await guest.printedBy(0)).stdout;
      assert.equal(printed, 'hook before 2\nhook before 1\nhook after 1\nhook after 2\n');
      assert.equal((await guest.printedBy(1)).stdout, '', 'a rehearsal prints nothing');
    }));

  test('runs no hook where there is no snapshot', () =>
    withImported(RECORDING, async (guest) => {
      await start(guest, false);
      assert.deepEqual(await result(guest), []);
    }));

  test('runs a hook before the snapshot that another has registered', () =>
    withImported(
      `
from snapshot_restore_py import *
ran = []
def outer():
    ran.append("outer")
    register_before_snapshot(ran.append, "inner")
register_before_snapshot(outer)
def handle(event):
    return ran
`,
      async (guest) => {
        await seal(guest);
        await start(guest, true);
        assert.deepEqual(await result(guest), ['outer', 'inner']);
      },
    ));

  test('tells which hooks are registered, as the library of this name does', () =>
    withImported(
      `
import snapshot_restore_py as hooks
def hook(a, b=None):
    pass
assert hooks.register_before_snapshot(hook, 1, b=2) is hook
assert hooks.register_after_restore(hook, 3) is hook
listed = [hooks.get_before_snapshot()[0] == (hook, (1,), {"b": 2}), hooks.get_after_restore()[0] == (hook, (3,), {})]
def handle(event):
    return listed
`,
      async (guest) => {
        await start(guest, false);
        assert.deepEqual(await result(guest), [true, true]);
      },
    ));

  const failing = (register: string): string => `
import snapshot_restore_py
def hook():
    print("about to fail")
    print("in part", end="")
    raise LookupError("no such é")
snapshot_restore_py.${register}(hook)
def handle(event):
    return event
`;

  for (const [register, send, lambdaType] of [
    [
      'register_before_snapshot',
      (guest: GuestProcess) => guest.command(FrameType.seal, HOOKS),
      'Runtime.BeforeSnapshotError',
    ],
    [
      'register_after_restore',
      (guest: GuestProcess) => guest.command(FrameType.start, { restored: true }),
      'Runtime.AfterRestoreError',
    ],
  ] as const) {
    test(`reports a hook that fails and ends (${register})`, () =>
      withImported(failing(register), async (guest) => {
        const failure = hookFailure(await send(guest));
        assert.equal(failure.type, 'LookupError');
        assert.equal(failure.message, 'no such é');
        const stack = failure.stack.join('\n');
        assert.match(stack, /workload\.py", line 6, in hook/);
        assert.doesNotMatch(stack, /snapfaas_|runtime\.py/);
        assert.deepEqual(await guest.exited, { status: 1, signal: null });
        assert.equal((await guest.printedBy(0)).stdout, 'about to fail\nin part');
      }));

    test(`reports a hook that fails as Lambda does, in its style (${register})`, async () => {
      const load: Partial<LoadRequest> = { style: 'lambda', handler: 'workload.handle' };
      await withImported(
        failing(register),
        async (guest) => {
          const failure = hookFailure(await send(guest));
          assert.equal(failure.type, lambdaType);
          assert.equal(failure.message, 'LookupError: no such é');
          assert.equal(failure.stack.length, 1);
          assert.match(failure.stack[0] ?? '', /workload\.py", line 6, in hook\n/);
          assert.deepEqual(await guest.exited, { status: 1, signal: null });
          assert.match((await guest.printedBy(0)).stdout, /^about to fail\nin part\[ERROR\] LookupError: no such é\n/);
        },
        load,
      );
      await withImported(
        failing(register).replace('LookupError("no such é")', 'LookupError'),
        async (guest) => assert.equal(hookFailure(await send(guest)).message, 'LookupError'),
        load,
      );
    });

    test(`ends with the status of a hook that leaves (${register})`, () =>
      withImported(
        failing(register).replace('raise LookupError("no such é")', 'raise SystemExit(7)'),
        async (guest) => {
          await assert.rejects(send(guest));
          assert.deepEqual(await guest.exited, { status: 7, signal: null });
        },
      ));
  }

  const SEEDED = `
import random, ssl, tempfile, uuid
random.seed(1)
expected = [random.Random(1).random() for _ in range(2)]
expected_own = random.Random(1).random()
own = random.Random(1)
uuid.uuid1()
node = uuid.getnode()
next(tempfile._get_candidate_names())
names = tempfile._name_sequence
def handle(event):
    return {
        "random": random.random() == expected[0],
        "own": own.random() == expected_own,
        "node": uuid.uuid1().node == node,
        "names": next(tempfile._get_candidate_names()) and tempfile._name_sequence is names,
        "ssl": len(ssl.RAND_bytes(4)),
    }
`;

  test('seeds the generators of the standard library anew after the restore, but not the own ones of a function', () =>
    withImported(SEEDED, async (guest) => {
      await seal(guest);
      await seal(guest, GENERATORS);
      await start(guest, true);
      assert.deepEqual(await result(guest), { random: false, own: true, node: false, names: false, ssl: 4 });
    }));

  test('lets no thread draw between the seal and the new seeds, however busy', () =>
    withImported(
      `
import random, sys, tempfile, threading, time
drawn = []
shadow = random.Random()
def draw_on():
    shadow.setstate(random.getstate())
    while True:
        drawn.append((time.monotonic(), random.getrandbits(64) == shadow.getrandbits(64)))
def spin():
    while True:
        pass
for _ in range(3):
    threading.Thread(target=spin, daemon=True).start()
threading.Thread(target=draw_on, daemon=True).start()
while len(drawn) < 1000:
    time.sleep(0.001)
def handle(event):
    while drawn[-1][1]:
        time.sleep(0.001)
    times = [time for time, _ in drawn]
    gaps = [after - before for before, after in zip(times, times[1:])]
    longest = max(gaps)
    return [longest, any(equal for time, equal in drawn[gaps.index(longest) + 1:])]
`,
      async (guest) => {
        await seal(guest, GENERATORS);
        await sleep(HELD_MS);
        await start(guest, true);
        const [longestGap, isOld] = (await result(guest)) as [number, boolean];
        assert.ok(longestGap * 1000 > HELD_MS * 0.9, `drew on after ${longestGap} s`);
        assert.equal(isOld, false, 'drew what every VM would have drawn');
      },
    ));

  test('leaves the generators as they are where there is no snapshot', () =>
    withImported(SEEDED, async (guest) => {
      await start(guest, false);
      assert.deepEqual(await result(guest), { random: true, own: true, node: true, names: true, ssl: 4 });
    }));

  test('seeds before the hooks after the restore run, which may seed otherwise', () =>
    withImported(
      `
import random, snapshot_restore_py
snapshot_restore_py.register_after_restore(random.seed, 5)
def handle(event):
    return random.random() == random.Random(5).random()
`,
      async (guest) => {
        await seal(guest);
        await start(guest, true);
        assert.equal(await result(guest), true);
      },
    ));

  test('gives numpy a new seed', { skip: !hasNumpy() && 'numpy is not installed' }, () =>
    withImported(
      `
import numpy
numpy.random.seed(1)
def handle(event):
    return numpy.random.random() == numpy.random.RandomState(1).random_sample()
`,
      async (guest) => {
        await seal(guest);
        await start(guest, true);
        assert.equal(await result(guest), false);
      },
    ),
  );

  /** What a function has made itself while it was imported, each as an expression; and whether it may go on in every copy. */
  const MADE_AT_IMPORT: Readonly<Record<string, readonly [expression: string, goesOn: boolean]>> = {
    'Random()': ['drawn(random.Random())', false],
    'Random(None)': ['drawn(random.Random(None))', false],
    'Random() that was used': ['(lambda r: [r.gauss(0, 1), drawn(r)][1])(random.Random())', false],
    'a seed that was taken back': ['(lambda r: [r.seed(), drawn(r)][1])(random.Random(5))', false],
    'a subclass that cannot be hashed': ['drawn(Unhashable())', false],
    'a subclass that takes its seed late': ['drawn(Late())', false],
    'a default of a parameter': ['mask.__defaults__[0].random', false],
    'of a library of the function': ['mine.generator.random', false],
    'Random(1)': ['drawn(random.Random(1))', true],
    'Random of a text': ['drawn(random.Random("seed"))', true],
    'a seed that was given later': ['(lambda r: [r.seed(1), drawn(r)][1])(random.Random())', true],
    'a state that was set': [
      '(lambda r: [r.setstate(random.Random(3).getstate()), drawn(r)][1])(random.Random())',
      true,
    ],
    'a copy': ['drawn(copy.deepcopy(random.Random()))', true],
    SystemRandom: ['drawn(random.SystemRandom())', false],
    'random() of SQLite': ['lambda: database.execute("select random()").fetchone()[0]', false],
    'randomblob() of SQLite': ['lambda: database.execute("select hex(randomblob(8))").fetchone()[0]', false],
    'the key of multiprocessing': ['lambda: bytes(multiprocessing.current_process().authkey).hex()', false],
    ...(hasNumpy() && {
      'numpy.random.default_rng()': ['numpy.random.default_rng().random', false],
      'numpy.random.RandomState()': ['numpy.random.RandomState().random_sample', false],
      'numpy: a bit generator': ['numpy.random.Generator(numpy.random.Philox()).random', false],
      'numpy: a child of a sequence': [
        'numpy.random.default_rng(numpy.random.SeedSequence().spawn(2)[1]).random',
        false,
      ],
      'numpy.random.default_rng(1)': ['numpy.random.default_rng(1).random', true],
      'numpy: 128 bits of entropy': ['numpy.random.default_rng(2**127 + 12345).random', true],
    }),
  };

  /** Answers with what this process draws, and with what its copy of the moment of the import does. */
  const COPIED = `
import copy, multiprocessing, os, random, sqlite3
${hasNumpy() ? 'import numpy' : ''}
import mine
database = sqlite3.connect(':memory:')
database.execute('select random()')
class Unhashable(random.Random):
    __hash__ = None
    def __eq__(self, other):
        raise RuntimeError
class Late(random.Random):
    def __init__(self):
        super().__init__(1)
        self.seed()
def mask(generator=random.Random()):
    pass
def drawn(generator):
    return generator.random
draws = [${Object.values(MADE_AT_IMPORT)
    .map(([expression]) => `(${expression})`)
    .join(', ')}]
reading, writing = os.pipe()
wanted, want = os.pipe()
if os.fork() == 0:
    os.close(want)
    os.read(wanted, 1)
    os.write(writing, repr([draw() for draw in draws]).encode())
    os._exit(0)
def handle(event):
    os.write(want, b'x')
    of_copy = eval(os.read(reading, 10000))
    os.wait()
    tools = [random.Random.seed.__qualname__, any('snapfaas' in getattr(one, '__module__', '') for one in __import__('sys').meta_path)]
    return [[draw() for draw in draws], of_copy, tools]
`;

  for (const restored of [true, false]) {
    test(`${restored ? 'seeds' : 'without a restore leaves'} what the function has made without a seed of its own`, async () => {
      const guest = await GuestProcess.start('python', {
        'workload.py': COPIED,
        'mine.py': 'import random\ngenerator = random.Random()\n',
      });
      try {
        const loaded = await guest.import();
        assert.equal(loaded.type, FrameType.loaded, loaded.payload.toString());
        if (restored) {
          await seal(guest);
          await seal(guest, GENERATORS);
        }
        await start(guest, restored);
        const [own, copied, tools] = (await result(guest)) as [unknown[], unknown[], unknown];
        const always = ['SystemRandom'];
        for (const [at, [what, [, goesOn]]] of Object.entries(MADE_AT_IMPORT).entries()) {
          const isEqual = own[at] === copied[at];
          assert.equal(isEqual, (goesOn || !restored) && !always.includes(what), what);
        }
        assert.deepEqual(tools, ['Random.seed', false], 'nothing is left of what took the notes');
      } finally {
        await guest.stop();
      }
    });
  }

  test('leaves a key of multiprocessing that the function has set', () =>
    withImported(
      `
import multiprocessing
multiprocessing.current_process().authkey = b'k' * 32
def handle(event):
    return bytes(multiprocessing.current_process().authkey).decode()
`,
      async (guest) => {
        await seal(guest);
        await start(guest, true);
        assert.equal(await result(guest), 'k'.repeat(32));
      },
    ));

  test('has modules that it looks at be what they are elsewhere', () =>
    withImported(
      `
import importlib, importlib.util, inspect, multiprocessing.process, pickle, random
def tell(module):
    return [type(module.__loader__).__name__, module.__spec__.loader is module.__loader__, module.__file__ == inspect.getfile(module)]
at_import = [tell(random), tell(multiprocessing.process), inspect.getsource(random) != '',
    str(inspect.signature(random.Random.seed)), random.Random.seed.__doc__ != '',
    type(pickle.loads(pickle.dumps(random.Random()))) is random.Random,
    importlib.util.find_spec('random').origin == random.__file__]
importlib.reload(random)
def handle(event):
    return at_import
`,
      async (guest) => {
        await start(guest, false);
        const loader = ['SourceFileLoader', true, true];
        assert.deepEqual(await result(guest), [loader, loader, true, '(self, a=None, version=2)', true, true, true]);
      },
    ));

  test('has the collector of garbage wait while the function is imported, unless it is told otherwise', () =>
    withImported(
      'import gc\nseen = gc.get_threshold()\ndef handle(event):\n    return [seen, gc.get_threshold(), gc.isenabled()]\n',
      async (guest) => {
        await start(guest, false);
        const [atImport, now, isEnabled] = (await result(guest)) as [number[], number[], boolean];
        assert.ok((atImport[0] ?? 0) > (now[0] ?? 0));
        assert.deepEqual([atImport.slice(1), isEnabled], [now.slice(1), true]);
      },
    ).then(() =>
      withImported(
        'import gc\ngc.set_threshold(123, 4, 5)\ndef handle(event):\n    return gc.get_threshold()\n',
        async (guest) => {
          await start(guest, false);
          assert.deepEqual(await result(guest), [123, 4, 5]);
        },
      ),
    ));

  test('gives interpreters of the same process new seeds', () =>
    withImported(
      `
import random
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
import os
inner = interpreters.create()
inner_id = inner[0] if isinstance(inner, tuple) else inner
interpreters.run_string(inner_id, 'import random; random.seed(1)')
def handle(event):
    reading, writing = os.pipe()
    interpreters.run_string(inner_id, 'import os; os.write(%d, repr(random.random()).encode())' % writing)
    return [float(os.read(reading, 100)), random.Random(1).random()]
`,
      async (guest) => {
        await seal(guest);
        await seal(guest, GENERATORS);
        await start(guest, true);
        const [drawn, old] = (await result(guest)) as [number, number];
        assert.notEqual(drawn, old);
      },
    ));

  test('copies of the process draw other numbers than it does, and than each other', () =>
    withImported(
      `
import os, random, tempfile, uuid
import gc, types
snapfaas_snapshot = next(one for one in gc.get_objects() if type(one) is types.ModuleType and one.__name__ == 'snapfaas_snapshot')
def draw():
    return [random.random(), str(uuid.uuid1()), next(tempfile._get_candidate_names())]
draw()
def clone(event):
    drawn = []
    for _ in range(event):
        reading, writing = os.pipe()
        state = random.getstate()
        child = os.fork()
        if child == 0:
            random.setstate(state)  # a fork is seeded by Python itself, a restored VM is not
            snapfaas_snapshot.renew()
            os.write(writing, repr(draw()).encode())
            os._exit(0)
        os.close(writing)
        drawn += eval(os.read(reading, 1000))
        os.close(reading)
        os.waitpid(child, 0)
    return drawn
handle = clone
`,
      async (guest) => {
        await start(guest, false);
        const drawn = (await result(guest, '40')) as unknown[];
        assert.equal(drawn.length, 120);
        assert.equal(new Set(drawn).size, 120);
      },
    ));

  test('log records count from the import of logging, whatever happened to the clock', () =>
    withImported(
      `
import logging, time
import gc, types
snapfaas_snapshot = next(one for one in gc.get_objects() if type(one) is types.ModuleType and one.__name__ == 'snapfaas_snapshot')
noted = logging._startTime
def handle(event):
    snapfaas_snapshot.Clock.offset -= event  # as if the wall clock had been set forward by as much
    snapfaas_snapshot.Clock.correct()
    scale = 1e9 if isinstance(noted, int) else 1
    return [(logging._startTime - noted) / scale, isinstance(logging._startTime, type(noted))]
`,
      async (guest) => {
        await start(guest, false);
        for (const [jump, expected] of [
          [3600, 3600],
          [0, 3600],
          [-7200, -3600],
        ] as const) {
          const [moved, hasKind] = (await result(guest, String(jump))) as [number, boolean];
          assert.ok(Math.abs(moved - expected) < 1, `${moved} for ${expected}`);
          assert.equal(hasKind, true);
        }
      },
    ));

  test("is not disturbed by a module of the function's with the name of a generator", async () => {
    const guest = await GuestProcess.start('python', {
      'workload.py': 'import uuid, tempfile\ndef handle(event):\n    return uuid.mine\n',
      'uuid.py': 'mine = 1\n',
      'tempfile.py': '',
    });
    assert.equal((await guest.import()).type, FrameType.loaded);
    await seal(guest);
    await start(guest, true);
    assert.equal(await result(guest), 1);
    await guest.stop();
  });

  test('answers a rehearsal with the event, without the handler and without counting it', () =>
    withImported(
      'def handle(event, context):\n    print("ran")\n    return 1\n',
      async (guest) => {
        await start(guest, true);
        for (let round = 0; round < 2; round++) {
          guest.functionChannel.write(
            encodeFrame(FrameType.rehearse, { id: 'x', deadline_ms: 1 }, Buffer.from('{"a":[1]}')),
          );
          const answer = await guest.nextFunctionFrame();
          assert.equal(answer.type, FrameType.result);
          assert.equal(answer.payload.toString(), '{"a":[1]}');
          assert.equal(await result(guest), 1);
        }
        assert.equal((await guest.printedBy(1)).stdout, 'ran\n', 'the first invocation has number 1');
        assert.equal((await guest.printedBy(2)).stdout, 'ran\n');
      },
      { handler: 'workload.handle' },
    ));

  test('counts what hooks print as request 0, and no rehearsal, where output comes in frames', () =>
    withImported(
      `
import snapshot_restore_py
snapshot_restore_py.register_after_restore(print, "restored")
def handle(event):
    print("handled")
`,
      async (guest) => {
        guest.controlChannel.write(encodeFrame(FrameType.start, { restored: true }));
        const log = await guest.nextControlFrame();
        assert.equal(log.type, FrameType.log);
        assert.deepEqual(log.header, { request: 0, stream: 'stdout' });
        assert.equal((await guest.nextControlFrame()).type, FrameType.started);
        guest.functionChannel.write(encodeFrame(FrameType.rehearse, undefined, Buffer.from('1')));
        await guest.nextFunctionFrame();
        assert.equal(await result(guest), null);
        assert.deepEqual((await guest.nextControlFrame()).header, { request: 1, stream: 'stdout' });
      },
      { output: 'frames' },
    ));

  test('leaves no descriptor behind and the collector running', () =>
    withImported(
      `
import gc, os
before = sorted(os.listdir("/proc/self/fd"))
def handle(event):
    return [sorted(os.listdir("/proc/self/fd")) == before, gc.isenabled(), gc.get_freeze_count() > 1000]
`,
      async (guest) => {
        await seal(guest);
        await start(guest, true);
        assert.deepEqual(await result(guest), [true, true, true]);
      },
    ));

  test('ends when the host asks for a step it does not know', () =>
    withImported('def handle(event):\n    return 1\n', async (guest) => {
      await assert.rejects(guest.command(FrameType.seal, { step: 'unknown' }));
      assert.deepEqual(await guest.exited, { status: 1, signal: null });
    }));

  test('ends with 0 when the host is gone before START', () =>
    withImported('def handle(event):\n    return 1\n', async (guest) => {
      await seal(guest);
      assert.deepEqual(await guest.stop(), { status: 0, signal: null });
    }));
});

function hasNumpy(): boolean {
  return spawnSync('python3', ['-c', 'import numpy']).status === 0;
}
