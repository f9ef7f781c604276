import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LaunchError, type Machine, type MachineExit } from '../../../src/firerunner/machine.ts';
import { FunctionLoadError, GuestLife, LaunchTimeoutError } from '../../../src/firerunner/guest/guest-life.ts';
import { FrameError, type Frame, type FrameHeader } from '../../../src/protocol/frame.ts';
import { FrameType, GUEST_PROTOCOL_VERSION, type LoadRequest } from '../../../src/protocol/guest.ts';

interface Sent {
  readonly type: number;
  readonly header: FrameHeader | undefined;
  readonly payload: Buffer;
}

/** A machine that does nothing by itself: the test is its guest. */
function createGuest(): {
  life: GuestLife;
  sent: Sent[];
  killed: () => boolean;
  interrupt(reason: Error): void;
  says(type: number, header?: FrameHeader, payload?: string | Uint8Array): void;
  end(reason: string, signal?: NodeJS.Signals): void;
} {
  const sent: Sent[] = [];
  let killed = false;
  let onExit: (exit: MachineExit) => void = () => undefined;
  const exited = new Promise<MachineExit>((resolve) => (onExit = resolve));
  const machine: Machine = {
    control: {
      send: (type, header, payload) => sent.push({ type, header, payload: Buffer.from(payload ?? []) }),
      onFrame: () => undefined,
      pause: () => undefined,
      resume: () => undefined,
      onClosed: () => undefined,
    },
    pid: null,
    spawnedAt: 0,
    exited,
    consoleTail: () => ['last words'],
    pause: () => undefined,
    resume: () => undefined,
    snapshot: () => Promise.resolve(),
    kill() {
      killed = true;
      return exited;
    },
  };
  const observer = { onChannel: () => undefined, onLog: () => null, onRuntimeExited: () => undefined };
  const interrupted = new AbortController();
  const life = new GuestLife(machine, observer, interrupted.signal);
  const interrupt = (reason: Error): void => interrupted.abort(reason);
  const says = (type: number, header: FrameHeader = {}, payload: string | Uint8Array = ''): void =>
    machine.control.onFrame({ type, header, payload: Buffer.from(payload) } satisfies Frame);
  const end = (reason: string, signal: NodeJS.Signals | null = null): void =>
    onExit({ status: signal === null ? 1 : null, signal, reason });
  return { life, sent, killed: () => killed, interrupt, says, end };
}

const HELLO = { protocol: GUEST_PROTOCOL_VERSION };
const REQUEST = { function: 'f' } as unknown as LoadRequest;
const FAILURE = '{"type": "ValueError", "message": "as asked", "stack": []}';

test('guest life: each step waits for its frame, also for one that came before', async () => {
  const { life, sent, says } = createGuest();
  says(FrameType.hello, HELLO);
  await life.hello();
  const loading = life.load(REQUEST);
  says(FrameType.loaded);
  await loading;
  const starting = life.start(true);
  says(FrameType.started);
  await starting;
  assert.deepEqual(
    sent.map(({ type, header }) => [type, header]),
    [
      [FrameType.load, undefined],
      [FrameType.start, { restored: true }],
    ],
  );
});

test('guest life: the guest’s answer of what its clock says is no step, and looked at', () => {
  const { life, sent, says } = createGuest();
  life.clock.set();
  const told = sent[0]?.payload.subarray(0, 8) ?? Buffer.alloc(8);
  says(FrameType.synced, {}, Buffer.concat([told, Buffer.alloc(8, 0x7f)]));
  assert.equal(sent.length, 2, 'told again: it was ahead by centuries');
});

test('guest life: an answer of another size loses the guest', async () => {
  const { life, says } = createGuest();
  const starting = life.start(true);
  says(FrameType.synced, {}, 'short');
  await assert.rejects(starting, /SYNCED of another size/);
});

test('guest life: SEALED tells which processes the function has beside its runtime', async () => {
  for (const [header, payload, expected] of [
    [{ processes: 0 }, '', { count: 0, names: '' }],
    [{ processes: 3 }, 'node child.js, cat', { count: 3, names: 'node child.js, cat' }],
    [{}, '', { count: 0, names: '' }],
  ] as const) {
    const { life, says } = createGuest();
    const sealing = life.seal('generators');
    says(FrameType.sealed, header, payload);
    assert.deepEqual(await sealing, expected);
  }
});

test('guest life: an import or a hook that fails is the function’s error', async () => {
  for (const [type, step] of [
    [FrameType.loadFailed, (life: GuestLife) => life.load(REQUEST)],
    [FrameType.hookFailed, (life: GuestLife) => life.seal('hooks')],
    [FrameType.hookFailed, (life: GuestLife) => life.start(true)],
  ] as const) {
    const { life, says } = createGuest();
    const failing = step(life);
    says(type, {}, FAILURE);
    await assert.rejects(
      failing,
      (error) => error instanceof FunctionLoadError && error.failure.message === 'as asked',
    );
  }
});

test('guest life: what the time ran out for is the function’s error only while its code runs', async () => {
  for (const [step, type] of [
    [(life: GuestLife) => life.load(REQUEST), 'Sandbox.Timedout'],
    [(life: GuestLife) => life.start(true), 'Sandbox.RestoreTimedout'],
    [(life: GuestLife) => life.hello(), null],
    [(life: GuestLife) => life.start(false), null],
  ] as const) {
    const { life, interrupt } = createGuest();
    const failing = step(life);
    const tooLate = new LaunchTimeoutError(1234, []);
    interrupt(tooLate);
    await assert.rejects(failing, (error) => {
      if (type === null) return error === tooLate;
      assert.ok(error instanceof FunctionLoadError);
      assert.equal(error.failure.type, type);
      assert.match(error.failure.message, /(the import|hooks after the restore).* 1234 ms/);
      return true;
    });
  }
  const { life, interrupt } = createGuest();
  const loading = life.load(REQUEST);
  interrupt(new Error('called off'));
  await assert.rejects(loading, /^Error: called off$/);
});

test('guest life: a frame out of turn costs the machine its life', async () => {
  const { life, killed, says } = createGuest();
  const waiting = life.hello();
  says(FrameType.started);
  await assert.rejects(waiting, LaunchError);
  assert.ok(killed());
});

test('guest life: a machine that ends says why to whoever waits, now and later', async () => {
  const { life, end } = createGuest();
  const waiting = life.hello();
  end('it was killed by SIGBUS');
  await assert.rejects(waiting, { name: 'LaunchError', message: 'it was killed by SIGBUS', console: ['last words'] });
  await assert.rejects(life.start(false), /SIGBUS/);
});

test('guest life: a machine that was killed from outside is the host’s fault', async () => {
  const { life, end } = createGuest();
  const waiting = life.start(true);
  end('it was killed by SIGKILL', 'SIGKILL');
  await assert.rejects(waiting, { name: 'HostError', message: 'it was killed by SIGKILL', console: ['last words'] });
});

test('guest life: a root file system of another protocol is refused with advice', async () => {
  const { life, says } = createGuest();
  const waiting = life.hello();
  says(FrameType.hello, { protocol: 1 });
  await assert.rejects(waiting, /build the images again/);
});

/** Values that are no counts; of some, JavaScript cannot even make a number or a text. */
const NO_COUNTS: readonly unknown[] = [
  null,
  -1,
  1.5,
  Infinity,
  '1',
  [[1]],
  {},
  { toString: 0 },
  { valueOf: null, toString: null },
];

test('guest life: a header that counts nothing breaks the protocol, and nobody else', () => {
  const named = [
    [FrameType.log, 'request'],
    [FrameType.logEnd, 'request'],
    [FrameType.sealed, 'processes'],
    [FrameType.runtimeExited, 'status'],
    [FrameType.runtimeExited, 'signal'],
  ] as const;
  for (const [type, key] of named) {
    for (const value of NO_COUNTS) {
      const { says } = createGuest();
      assert.throws(() => says(type, { [key]: value }, 'text'), FrameError, `${type} ${key}`);
    }
  }
});

test('guest life: a HELLO of whatever protocol ends the launch with advice', async () => {
  for (const protocol of [
    undefined,
    GUEST_PROTOCOL_VERSION + 1,
    { toString: 0 },
    JSON.parse('['.repeat(30_000) + ']'.repeat(30_000)) as unknown,
  ]) {
    const { life, says } = createGuest();
    const hello = life.hello();
    says(FrameType.hello, { protocol });
    await assert.rejects(hello, /speaks guest protocol (\d+|unknown), .* build the images again/);
  }
});
