/**
 * VMs that begin as copies of each other: whatever is random differs in each of them, wherever in the process it is drawn, also
 * where the function has drawn before the snapshot; and the clocks are right in all. `SNAPFAAS_TEST_CLONES=200` has it look
 * at as many of each kind.
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
/** Under emulation a Node function takes seconds to start its threads. */
const CLONES = { python3: Number(ASKED ?? 10), nodejs: Number(ASKED ?? 3) } as const;
/** VMs that import the function take longer to start. */
const COLD_CLONES = { python3: Math.ceil(CLONES.python3 / 4), nodejs: Math.ceil(CLONES.nodejs / 4) + 1 } as const;
/** Largest difference to the host's clock, and between two clocks of a VM, in ms. */
const CLOCK_TOLERANCE_MS = 100;
/** All layers on two busy cores, in ms. */
const SNAPSHOTS_PATIENCE_MS = 300_000;

const PYTHON = `
import hashlib, os, queue, random, secrets, ssl, tempfile, threading, time, uuid

def draw_here():
    return {
        'random': random.random(),
        'randbits': str(random.getrandbits(64)),
        'choices': ''.join(random.choices('abcdefghijklmnopqrstuvwxyz', k=20)),
        'uuid1': str(uuid.uuid1()),
        'uuid4': str(uuid.uuid4()),
        'secrets': secrets.token_hex(16),
        'urandom': os.urandom(16).hex(),
        'openssl': ssl.RAND_bytes(16).hex(),
        'salted': hashlib.scrypt(b'password', salt=ssl.RAND_bytes(16), n=2, r=1, p=1).hex(),
        'tempfile': tempfile.mktemp(),
    }

class Thread:
    def __init__(self):
        self.wanted, self.drawn = queue.Queue(), queue.Queue()
        threading.Thread(target=self.serve, daemon=True).start()
    def serve(self):
        while True:
            self.wanted.get()
            self.drawn.put(draw_here())
    def draw(self):
        self.wanted.put(None)
        return self.drawn.get()

def draw_in_child():
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, repr(draw_here()).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        drawn = eval(answer.read())
    os.waitpid(child, 0)
    return drawn

early = Thread()

def draw():
    places = {'main': draw_here, 'early thread': early.draw, 'new thread': Thread().draw, 'child': draw_in_child}
    return {place + ', ' + kind: value for place, draw_there in places.items() for kind, value in draw_there().items()}

at_import = draw()

def handle(request):
    if request == 'exit':
        os._exit(0)
    return {'clock': time.time() * 1000, 'at_import': at_import, 'drawn': draw(), 'differences': {}}
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

async function draw() {
  return {
    random: Math.random(),
    capturedRandom: random(),
    earlyContext: vm.runInContext('Math.random()', earlyContext),
    newContext: vm.runInNewContext('Math.random()'),
    randomUUID: crypto.randomUUID(),
    capturedUUID: randomUUID(),
    webUUID: globalThis.crypto.randomUUID(),
    uncachedUUID: crypto.randomUUID({ disableEntropyCache: true }),
    randomBytes: crypto.randomBytes(16).toString('hex'),
    inPool: await Promise.all([0, 1, 2, 3].map(() => promisify(crypto.randomBytes)(16).then((b) => b.toString('hex')))),
    randomInt: crypto.randomInt(2 ** 47),
    capturedInt: randomInt(2 ** 47),
    laterInt: await promisify(randomInt)(2 ** 47),
    getRandomValues: Buffer.from(globalThis.crypto.getRandomValues(new Uint8Array(16))).toString('hex'),
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
parentPort.on('message', async () => parentPort.postMessage({ drawn: await draw(), differences: differences() }));`)};
class Thread {
  worker = new Worker(SOURCE, { eval: true });
  draw() {
    const { worker } = this;
    return new Promise((resolve, reject) => {
      worker.ref();
      worker.once('error', reject).once('message', (answer) => { worker.unref(); resolve(answer); });
      worker.postMessage('draw');
    });
  }
}
const early = new Thread();

async function drawAll() {
  const late = new Thread();
  const places = [['main', { drawn: await draw(), differences: differences() }], ['early', await early.draw()], ['new', await late.draw()]];
  await late.worker.terminate();
  const named = (what) => Object.fromEntries(places.flatMap(([place, found]) => Object.entries(found[what]).map(([kind, value]) => [place + ', ' + kind, value])));
  return { drawn: named('drawn'), differences: named('differences') };
}

const atImport = drawAll();

exports.handle = async (request) => {
  if (request === 'exit') process.exit(0);
  const clock = Date.now();
  const { drawn: at_import } = await atImport;
  const { drawn, differences } = await drawAll();
  return { clock, at_import, drawn, differences };
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
}

const RUNTIMES = ['python3', 'nodejs'] as const;
type Runtime = (typeof RUNTIMES)[number];
const FILES = { python3: 'workload.py', nodejs: 'workload.js' } as const;
const SOURCES = { python3: PYTHON, nodejs: NODE } as const;

function of(name: string, runtime: Runtime, source: string): TestFunction {
  return { name: `${runtime}-${name}`, runtime, files: { [FILES[runtime]]: source, 'drawing.py': DRAWING } };
}

const FUNCTIONS: readonly TestFunction[] = RUNTIMES.flatMap((runtime) => [
  of('a', runtime, SOURCES[runtime]),
  of('b', runtime, SOURCES[runtime]),
  of('cold-a', runtime, WITHOUT_SNAPSHOT[runtime] + SOURCES[runtime]),
  of('cold-b', runtime, WITHOUT_SNAPSHOT[runtime] + SOURCES[runtime]),
  of('forked', runtime, FORKED[runtime]),
]);

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

/** Draws in so many VMs of the function, one after the other. All that were restored have the draws of the import in common. */
async function drawInClones(
  controller: RunningController,
  name: string,
  { start, clones }: { readonly start: 'restored' | 'cold'; readonly clones: number },
  ready: () => Promise<unknown> = () => Promise.resolve(),
): Promise<void> {
  for (let clone = 0; clone < clones; clone += 1) {
    await ready();
    const sent = Date.now();
    const answer = await controller.invoke(name, 'draw');
    const received = Date.now();
    assert.equal(answer.headers.get('x-snapfaas-start'), start, answer.text);
    const { clock, at_import, drawn, differences } = answer.body as Draws;
    const where = `${name}, ${start} ${clone} of ${controller.pid}`;
    if (clone === 0 || start === 'cold') {
      const known = seen.get(JSON.stringify(Object.values(at_import)[0]));
      // A snapshot that another controller of this file has made as well.
      if (known?.startsWith(`the import of ${name}`) !== true)
        assertAllNew(`the import of ${name}, ${where}`, at_import);
    }
    assertAllNew(where, drawn);
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

describe('VMs that begin as copies', () => {
  let workspace: Workspace;
  let controller: RunningController;

  before(async () => {
    workspace = createWorkspace(FUNCTIONS);
    controller = await startWithSnapshots(workspace, { memoryMib: 128 });
  });

  after(async () => {
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  for (const runtime of RUNTIMES) {
    for (const name of [`${runtime}-a`, `${runtime}-b`]) {
      test(`${name}: nothing random is equal in ${CLONES[runtime]} clones of its snapshot, and clocks are right`, () =>
        drawInClones(controller, name, { start: 'restored', clones: CLONES[runtime] }));
    }

    for (const name of [`${runtime}-cold-a`, `${runtime}-cold-b`]) {
      test(`${name}: nor in ${COLD_CLONES[runtime]} clones of the base layer, their imports included`, () =>
        drawInClones(controller, name, { start: 'cold', clones: COLD_CLONES[runtime] }));
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
  }
});

describe('VMs that are launched ahead', () => {
  let workspace: Workspace;
  let controller: RunningController;

  before(async () => {
    workspace = createWorkspace(
      FUNCTIONS.filter(({ name }) => name.endsWith('-a') && !name.includes('cold')),
      ['standby: 256'],
    );
    controller = await startWithSnapshots(workspace, { memoryMib: 384 });
  });

  after(async () => {
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  for (const runtime of RUNTIMES) {
    test(`${runtime}: nothing random is equal in ${CLONES[runtime]} of them, and clocks are right`, async () => {
      const waits = ({ standby }: ControllerStatus): boolean => standby.vms === 2;
      await drawInClones(controller, `${runtime}-a`, { start: 'restored', clones: CLONES[runtime] }, () =>
        controller.until(waits, SNAPSHOTS_PATIENCE_MS),
      );
    });
  }
});
