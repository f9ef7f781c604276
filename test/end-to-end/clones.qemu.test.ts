/**
 * Clones of one snapshot: whatever is random differs in each of them, also where the function has used it before the
 * snapshot, and the clock is right in all.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  startController,
  type RunningController,
  type TestFunction,
  type Workspace,
} from '../support/snapctr.ts';

const CLONES = 100;
/** Largest difference to the host's clock, in ms. */
const CLOCK_TOLERANCE_MS = 100;

const PYTHON = `
import hashlib, os, random, secrets, ssl, tempfile, time, uuid

def draw():
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

at_import = draw()

def handle(request):
    if request == 'exit':
        os._exit(0)
    return {'clock': time.time() * 1000, 'at_import': at_import, 'drawn': draw()}
`;

const NODE = `
const crypto = require('node:crypto');
const { promisify } = require('node:util');
const { random } = Math;
const { randomUUID } = crypto;

async function draw() {
  return {
    random: Math.random(),
    capturedRandom: random(),
    randomUUID: crypto.randomUUID(),
    capturedUUID: randomUUID(),
    webUUID: globalThis.crypto.randomUUID(),
    randomBytes: crypto.randomBytes(16).toString('hex'),
    inThreads: await Promise.all([0, 1, 2, 3].map(() => promisify(crypto.randomBytes)(16).then((b) => b.toString('hex')))),
    randomInt: crypto.randomInt(2 ** 47),
    getRandomValues: Buffer.from(globalThis.crypto.getRandomValues(new Uint8Array(16))).toString('hex'),
    privateKey: crypto.generateKeyPairSync('ed25519').privateKey.export({ format: 'der', type: 'pkcs8' }).toString('hex'),
  };
}

const atImport = draw();

exports.handle = async (request) => {
  if (request === 'exit') process.exit(0);
  return { clock: Date.now(), at_import: await atImport, drawn: await draw() };
};
`;

interface Draws {
  readonly clock: number;
  readonly at_import: Readonly<Record<string, unknown>>;
  readonly drawn: Readonly<Record<string, unknown>>;
}

const FUNCTIONS: readonly TestFunction[] = [
  { name: 'python3', runtime: 'python3', files: { 'workload.py': PYTHON } },
  { name: 'nodejs', runtime: 'nodejs', files: { 'workload.js': NODE } },
];

describe('clones of a snapshot', () => {
  let workspace: Workspace;
  let controller: RunningController;

  before(async () => {
    workspace = createWorkspace(FUNCTIONS);
    controller = await startController(workspace, { vmm: 'qemu', memoryMib: 128, snapshots: true });
  });

  after(async () => {
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  for (const { name } of FUNCTIONS) {
    test(`${name}: nothing random is equal in any two of ${CLONES} clones, and their clocks are right`, async () => {
      const seen = new Map<string, string>();
      const worst = { offMs: 0 };
      for (let clone = 0; clone < CLONES; clone += 1) {
        const sent = Date.now();
        const answer = await controller.invoke(name, 'draw');
        const received = Date.now();
        assert.equal(answer.headers.get('x-snapfaas-start'), 'restored', answer.text);
        const { clock, at_import, drawn } = answer.body as Draws;
        worst.offMs = Math.max(worst.offMs, sent - clock, clock - received);
        // All clones have the draws of the import in common: the snapshot was taken after it.
        const values =
          clone === 0
            ? [...entries('import', at_import), ...entries('clone 0', drawn)]
            : entries(`clone ${clone}`, drawn);
        for (const [where, value] of values) {
          assert.equal(seen.get(value), undefined, `${where} drew the same as ${seen.get(value)}: ${value}`);
          seen.set(value, where);
        }
        assert.equal(errorOf(await controller.invoke(name, 'exit'))?.code, 'function_error');
      }
      assert.ok(worst.offMs < CLOCK_TOLERANCE_MS, `a clock was ${worst.offMs} ms off`);
    });
  }
});

/** Each drawn value with the place it was drawn at; lists one by one. */
function entries(where: string, draws: Readonly<Record<string, unknown>>): [string, string][] {
  return Object.entries(draws).flatMap(([kind, value]) =>
    (Array.isArray(value) ? value : [value]).map((one): [string, string] => [`${where}, ${kind}`, JSON.stringify(one)]),
  );
}
