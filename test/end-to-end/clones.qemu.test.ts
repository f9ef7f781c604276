/**
 * VMs that begin as copies of each other: whatever is random differs in each of them, wherever in the process it is drawn, also
 * where the function has drawn before the snapshot; and the clocks are right in all. `SNAPFAAS_TEST_CLONES=200` has it look
 * at as many of each kind of layer, which takes an hour or so on two cores; `SNAPFAAS_TEST_RUNTIME=nodejs` at one runtime only.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { ControllerStatus } from '../../src/controller/controller.ts';
import { logged } from '../support/snapshots.ts';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  startController,
  type RunningController,
  type TestFunction,
  type Workspace,
} from '../support/snapctr.ts';

const ASKED = process.env['SNAPFAAS_TEST_CLONES'];
/** Of each kind of layer. Under emulation a Node function takes seconds to start its threads. */
const CLONES = { python3: Number(ASKED ?? 6), nodejs: Number(ASKED ?? 2) } as const;
/** Of the other function with the same source, and of each of the two that are imported in each VM. */
const FEWER_CLONES = { python3: Math.ceil(CLONES.python3 / 2), nodejs: Math.ceil(CLONES.nodejs / 2) } as const;
/** How often a clone draws what costs little. */
const ROUNDS = { python3: 36, nodejs: 64 } as const;
/**
 * So many clones of the first kind of layer, one of each other kind, and then one in so many, also draw where it takes long: in
 * threads and processes that begin there.
 */
const THOROUGH = { first: 2, oneIn: 10 } as const;
const FEWEST_DRAWS = 10_000;
/** Largest difference to the host's clock, and between two clocks of a VM, in ms. */
const CLOCK_TOLERANCE_MS = 100;
/** All layers on two busy cores, in ms. */
const SNAPSHOTS_PATIENCE_MS = 300_000;

const PYTHON = `
import hashlib, os, queue, random, secrets, sqlite3, ssl, tempfile, threading, time, uuid

def draw_one():
    return {
        'random': random.random(),
        'randbits': str(random.getrandbits(64)),
        'choices': ''.join(random.choices('abcdefghijklmnopqrstuvwxyz', k=20)),
        'uuid1': str(uuid.uuid1()),
        'uuid4': str(uuid.uuid4()),
        'secrets': secrets.token_hex(16),
        'urandom': os.urandom(16).hex(),
        'openssl': ssl.RAND_bytes(16).hex(),
        'tempfile': tempfile.mktemp(),
    }

def draw_here(rounds):
    drawn = [draw_one() for _ in range(rounds)]
    kinds = {kind: [one[kind] for one in drawn] for kind in drawn[0]}
    return kinds | {'salted': hashlib.scrypt(b'password', salt=ssl.RAND_bytes(16), n=2, r=1, p=1).hex()}

class Thread:
    def __init__(self):
        self.wanted, self.drawn = queue.Queue(), queue.Queue()
        threading.Thread(target=self.serve, daemon=True).start()
    def serve(self):
        while True:
            self.drawn.put(draw_here(self.wanted.get()))
    def draw(self, rounds):
        self.wanted.put(rounds)
        return self.drawn.get()

def draw_in_child(rounds):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(writing, 'w') as answer:
            answer.write(repr(draw_here(rounds)))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        drawn = eval(answer.read())
    os.waitpid(child, 0)
    return drawn

class Busy:
    """Draws all the time, while the snapshot is taken as well, and notes when."""
    def __init__(self):
        self.latest, self.count = [], 0
        threading.Thread(target=self.draw_on, daemon=True).start()
    def draw_on(self):
        while True:
            self.latest = [*self.latest[-39:], [str(random.getrandbits(64)), os.urandom(8).hex(), repr(time.time())]]
            self.count += 1
            if self.count % 20 == 0:
                time.sleep(0.001)
    def draw(self):
        begun = self.count
        while self.count < begun + 20:
            time.sleep(0.001)
        return self.latest

early = Thread()
busy = Busy()
own = random.Random()
database = sqlite3.connect(':memory:')

def draw_of_function(rounds):
    return {
        'Random()': [str(own.getrandbits(64)) for _ in range(rounds)],
        'SQLite': [database.execute('select hex(randomblob(8))').fetchone()[0] for _ in range(rounds)],
    }

def draw(rounds, thorough):
    places = {'main': draw_here, 'early thread': early.draw, 'made by the function': draw_of_function}
    if thorough:
        places |= {'new thread': Thread().draw, 'child': draw_in_child}
    drawn = {place: draw_there(rounds) for place, draw_there in places.items()}
    return {place + ', ' + kind: value for place, kinds in drawn.items() for kind, value in kinds.items()}

at_import = draw(2, True)

def handle(request):
    if request == 'exit':
        os._exit(0)
    noted = busy.latest
    clock = time.time() * 1000
    return {'clock': clock, 'at_import': at_import, 'drawn': draw(**request), 'differences': {}, 'busy': noted + busy.draw()}
`;

/** \`draw\` of one thread of Node. */
const NODE_THREAD = `
const crypto = require('node:crypto');
const vm = require('node:vm');
const { isMainThread } = require('node:worker_threads');
const { promisify } = require('node:util');
const { random } = Math;
const { randomInt, randomUUID } = crypto;
const earlyContext = vm.createContext({});

function drawOne() {
  return {
    random: Math.random(),
    capturedRandom: random(),
    earlyContext: vm.runInContext('Math.random()', earlyContext),
    randomUUID: crypto.randomUUID(),
    capturedUUID: randomUUID(),
    webUUID: globalThis.crypto.randomUUID(),
    uncachedUUID: crypto.randomUUID({ disableEntropyCache: true }),
    randomBytes: crypto.randomBytes(16).toString('hex'),
    randomInt: crypto.randomInt(2 ** 47),
    capturedInt: randomInt(2 ** 47),
    getRandomValues: Buffer.from(globalThis.crypto.getRandomValues(new Uint8Array(16))).toString('hex'),
  };
}
async function draw(rounds) {
  const all = Array.from({ length: rounds }, drawOne);
  const kinds = Object.fromEntries(Object.keys(all[0]).map((kind) => [kind, all.map((one) => one[kind])]));
  return {
    ...kinds,
    newContext: vm.runInNewContext('[Math.random(), Math.random()]'),
    inPool: await Promise.all([0, 1, 2, 3].map(() => promisify(crypto.randomBytes)(16).then((b) => b.toString('hex')))),
    laterInt: await promisify(randomInt)(2 ** 47),
    privateKey: crypto.generateKeyPairSync('ed25519').privateKey.export({ format: 'der', type: 'pkcs8' }).toString('hex'),
    laterKey: Buffer.from(await globalThis.crypto.subtle.exportKey('raw', await globalThis.crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, true, ['encrypt']))).toString('hex'),
  };
}
/** By how much clocks that should agree do not. */
function differences() {
  const outside = (read, tolerance = 0) => {
    const before = Date.now(), value = read();
    return Math.max(0, before - value - tolerance, value - Date.now() - tolerance);
  };
  return {
    performance: outside(() => performance.timeOrigin + performance.now()),
    toJSON: outside(() => performance.toJSON().timeOrigin + performance.now()),
    event: outside(() => performance.timeOrigin + new Event('any').timeStamp),
    // It does not count what Node does before it runs any JavaScript, and is that of the process in a worker as well.
    uptime: isMainThread ? outside(() => performance.timeOrigin + process.uptime() * 1000, 1000) : 0,
  };
}
`;

const NODE = `
${NODE_THREAD}
const { Worker } = require('node:worker_threads');

const SOURCE = ${JSON.stringify(`${NODE_THREAD}
const { parentPort } = require('node:worker_threads');
parentPort.on('message', async (rounds) => parentPort.postMessage({ drawn: await draw(rounds), differences: differences() }));`)};
class Thread {
  worker = new Worker(SOURCE, { eval: true });
  draw(rounds) {
    const { worker } = this;
    return new Promise((resolve, reject) => {
      worker.ref();
      worker.once('error', reject).once('message', (answer) => { worker.unref(); resolve(answer); });
      worker.postMessage(rounds);
    });
  }
}
const early = new Thread();

/* Draws all the time, while the snapshot is taken as well, and notes when; and leaves the emulated processor to the others in between. */
const BUSY = \`
const { parentPort } = require('node:worker_threads');
const { randomBytes } = require('node:crypto');
let latest = [];
setInterval(() => {
  for (let i = 0; i < 5; i += 1) latest.push([Math.random(), randomBytes(8).toString('hex'), performance.timeOrigin + performance.now()]);
  latest = latest.slice(-40);
}, 5);
parentPort.on('message', () => parentPort.postMessage(latest));
\`;
const busy = new Worker(BUSY, { eval: true });
function fromBusy() {
  return new Promise((resolve, reject) => {
    busy.ref();
    busy.once('error', reject).once('message', (answer) => { busy.unref(); resolve(answer); });
    busy.postMessage(null);
  });
}

async function drawAll({ rounds, thorough }) {
  const late = thorough ? new Thread() : undefined;
  const places = [
    ['main', { drawn: await draw(rounds), differences: differences() }],
    ['early', await early.draw(rounds)],
    ...(late === undefined ? [] : [['new', await late.draw(rounds)]]),
  ];
  await late?.worker.terminate();
  const named = (what) => Object.fromEntries(places.flatMap(([place, found]) => Object.entries(found[what]).map(([kind, value]) => [place + ', ' + kind, value])));
  return { drawn: named('drawn'), differences: named('differences') };
}

const atImport = drawAll({ rounds: 2, thorough: false });

exports.handle = async (request) => {
  if (request === 'exit') process.exit(0);
  const clock = Date.now();
  const noted = await fromBusy();
  const { drawn: at_import } = await atImport;
  const { drawn, differences } = await drawAll(request);
  return { clock, at_import, drawn, differences, busy: [...noted, ...(await fromBusy())] };
};
`;

/** Keeps a function on the base layer, as while its snapshot is being made. */
const WITHOUT_SNAPSHOT = {
  python3: `
from snapshot_restore_py import register_before_snapshot
register_before_snapshot(lambda: 1 / 0)
`,
  nodejs: `require('snapfaas').registerBeforeSnapshot(() => { throw new Error('none'); });\n`,
} as const;

const FORKED = {
  python3: `
import multiprocessing, os
import drawing
pool = multiprocessing.get_context('fork').Pool(2)
pool.map(drawing.draw, range(4))
def handle(request):
    if request == 'exit':
        os._exit(0)
    return pool.map(drawing.draw, range(4))
`,
  nodejs: `
const { fork } = require('node:child_process');
if (process.argv[2] === 'child') {
  process.on('message', () => process.send(Math.random()));
} else {
  const child = fork(__filename, ['child']);
  child.unref();
  const draw = () => new Promise((resolve) => { child.once('message', resolve); child.send('draw'); });
  const ready = draw();
  exports.handle = async (request) => {
    if (request === 'exit') process.exit(0);
    await ready;
    return [await draw(), await draw()];
  };
}
`,
} as const;

/** Of a forked process's: the module that is being imported cannot be asked for it. */
const DRAWING = `
import random
def draw(_):
    return random.random()
`;

interface Draws {
  readonly clock: number;
  readonly at_import: Readonly<Record<string, unknown>>;
  readonly drawn: Readonly<Record<string, unknown>>;
  readonly differences: Readonly<Record<string, number>>;
  /** Values and when they were drawn, by a thread that draws all the time. */
  readonly busy: readonly (readonly unknown[])[];
}

type Runtime = TestFunction['runtime'];
const ALL_RUNTIMES: readonly Runtime[] = ['python3', 'nodejs'];
const ONLY = process.env['SNAPFAAS_TEST_RUNTIME'];
const RUNTIMES = ALL_RUNTIMES.filter((runtime) => ONLY === undefined || ONLY === runtime);
const FILES = { python3: 'workload.py', nodejs: 'workload.js' } as const;
const SOURCES = { python3: PYTHON, nodejs: NODE } as const;

function of(name: string, runtime: Runtime, source: string): TestFunction {
  return {
    name: `${runtime}-${name}`,
    runtime,
    files: { [FILES[runtime]]: source, 'drawing.py': DRAWING },
    keys: { timeout: 300 },
  };
}

const FUNCTIONS: readonly TestFunction[] = RUNTIMES.flatMap((runtime) => [
  of('a', runtime, SOURCES[runtime]),
  of('b', runtime, SOURCES[runtime]),
  of('cold-a', runtime, WITHOUT_SNAPSHOT[runtime] + SOURCES[runtime]),
  of('cold-b', runtime, WITHOUT_SNAPSHOT[runtime] + SOURCES[runtime]),
  of('forked', runtime, FORKED[runtime]),
]);

function functionOf(name: string): TestFunction {
  const found = FUNCTIONS.find((one) => one.name === name);
  assert.ok(found !== undefined, name);
  return found;
}

/** Whatever was drawn anywhere, and where. */
const seen = new Map<string, string>();

function assertAllNew(where: string, draws: Readonly<Record<string, unknown>>): void {
  for (const [kind, value] of Object.entries(draws)) {
    for (const one of Array.isArray(value) ? (value as unknown[]) : [value]) {
      const text = JSON.stringify(one);
      assert.equal(seen.get(text), undefined, `${where}, ${kind}, drew the same as ${seen.get(text)}: ${text}`);
      seen.set(text, `${where}, ${kind}`);
    }
  }
}

/** When each was drawn by a thread that draws all the time. What was drawn before the snapshot all of its VMs have in common. */
const seenOfBusy = new Map<string, string>();

function assertDrawnOnce(where: string, draws: Draws['busy']): void {
  for (const values of draws) {
    const time = String(values.at(-1));
    for (const value of values.slice(0, -1)) {
      const text = String(value);
      const known = seenOfBusy.get(text);
      assert.ok(
        known === undefined || known === time,
        `${where}: its busy thread drew ${text} at ${time}, as at ${known}`,
      );
      seenOfBusy.set(text, time);
    }
  }
}

/** How many draws there were by the runtime. */
const draws = { python3: 0, nodejs: 0 };

/** Draws in so many VMs of the function, one after the other. All that were restored have the draws of the import in common. */
async function drawInClones(
  controller: RunningController,
  { name, runtime }: TestFunction,
  {
    start,
    clones,
    thorough: first = 1,
  }: {
    readonly start: 'restored' | 'cold';
    readonly clones: number;
    readonly thorough?: number;
  },
  ready: () => Promise<unknown> = () => Promise.resolve(),
): Promise<void> {
  for (let clone = 0; clone < clones; clone += 1) {
    await ready();
    const thorough = clone < first || clone % THOROUGH.oneIn === 0;
    const seenBefore = seen.size + seenOfBusy.size;
    const sent = Date.now();
    const answer = await controller.invoke(name, { rounds: ROUNDS[runtime], thorough });
    const received = Date.now();
    assert.equal(answer.headers.get('x-snapfaas-start'), start, answer.text);
    const { clock, at_import, drawn, differences, busy } = answer.body as Draws;
    const where = `${name}, ${start} ${clone} of ${controller.pid}`;
    if (clone === 0 || start === 'cold') {
      const known = seen.get(JSON.stringify((Object.values(at_import)[0] as readonly unknown[])[0]));
      // A snapshot that another controller of this file has made as well.
      if (known?.startsWith(`the import of ${name}`) !== true)
        assertAllNew(`the import of ${name}, ${where}`, at_import);
    }
    assertAllNew(where, drawn);
    assertDrawnOnce(where, busy);
    draws[runtime] += seen.size + seenOfBusy.size - seenBefore;
    const offMs = Math.max(sent - clock, clock - received);
    assert.ok(offMs < CLOCK_TOLERANCE_MS, `${where}: its clock is ${offMs} ms off`);
    for (const [which, ms] of Object.entries(differences)) {
      assert.ok(Math.abs(ms) < CLOCK_TOLERANCE_MS, `${where}: ${which} is ${ms} ms off`);
    }
    assert.equal(errorOf(await controller.invoke(name, 'exit'))?.code, 'function_error');
  }
}

async function startWithSnapshots(
  workspace: Workspace,
  options: { readonly memoryMib: number },
): Promise<RunningController> {
  const controller = await startController(workspace, { vmm: 'qemu', snapshots: 'being made', ...options });
  await controller.until(({ snapshots }) => snapshots.preparing === 0, SNAPSHOTS_PATIENCE_MS);
  return controller;
}

for (const runtime of RUNTIMES) {
  describe(`VMs that begin as copies, ${runtime}`, () => {
    let workspace: Workspace;
    let controller: RunningController;

    before(async () => {
      workspace = createWorkspace(FUNCTIONS.filter((one) => one.runtime === runtime));
      controller = await startWithSnapshots(workspace, { memoryMib: 128 });
    });

    after(async () => {
      assert.equal(await controller.stop(), 0);
      await assertNothingLeft(workspace);
      workspace.remove();
    });

    for (const [letter, clones, thorough] of [
      ['a', CLONES[runtime], THOROUGH.first],
      ['b', FEWER_CLONES[runtime], 1],
    ] as const) {
      const name = `${runtime}-${letter}`;
      test(`${name}: nothing random is equal in ${clones} clones of its snapshot, and clocks are right`, () =>
        drawInClones(controller, functionOf(name), { start: 'restored', clones, thorough }));
    }

    for (const name of [`${runtime}-cold-a`, `${runtime}-cold-b`]) {
      const clones = FEWER_CLONES[runtime];
      test(`${name}: nor in ${clones} clones of the base layer, their imports included`, () =>
        drawInClones(controller, functionOf(name), { start: 'cold', clones }));
    }

    test(`${runtime}: a function with processes of its own gets no snapshot, and they draw other numbers in each VM`, async () => {
      const name = `${runtime}-forked`;
      const refused = logged(controller, 'no snapshot could be made').filter((record) => record['function'] === name);
      assert.equal(refused.length, 1, controller.log.join('\n'));
      assert.match(
        String(refused[0]?.msg),
        /the function has .*process.* \(\/usr\/bin\/(node|python3) .*\) when its snapshot/,
      );
      for (let clone = 0; clone < 2; clone += 1) {
        const answer = await controller.invoke(name, 'draw');
        assert.equal(answer.headers.get('x-snapfaas-start'), 'cold', answer.text);
        // Two workers of one pool may have the same seed, as everywhere.
        const drawn = [...new Set(answer.body as readonly number[])];
        assertAllNew(`${name}, cold ${clone}`, Object.fromEntries(drawn.map((one, index) => [index, one])));
        assert.equal(errorOf(await controller.invoke(name, 'exit'))?.code, 'function_error');
      }
    });
  });

  describe(`VMs that are launched ahead, ${runtime}`, () => {
    let workspace: Workspace;
    let controller: RunningController;

    before(async () => {
      workspace = createWorkspace([functionOf(`${runtime}-a`)], ['standby: 128']);
      controller = await startWithSnapshots(workspace, { memoryMib: 256 });
    });

    after(async () => {
      assert.equal(await controller.stop(), 0);
      await assertNothingLeft(workspace);
      workspace.remove();
    });

    test(`${runtime}: nothing random is equal in ${CLONES[runtime]} of them, and clocks are right`, async () => {
      const waits = ({ standby }: ControllerStatus): boolean => standby.vms === 1;
      const clones = { start: 'restored', clones: CLONES[runtime] } as const;
      await drawInClones(controller, functionOf(`${runtime}-a`), clones, () =>
        controller.until(waits, SNAPSHOTS_PATIENCE_MS),
      );
    });

    test(`${runtime}: at least ${FEWEST_DRAWS} draws were compared, and none was equal`, (t) => {
      t.diagnostic(`${draws[runtime]} draws, 0 equal`);
      assert.ok(draws[runtime] >= FEWEST_DRAWS, `only ${draws[runtime]}`);
    });
  });
}
