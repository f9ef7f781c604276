/**
 * Guests without VMs, for tests of the pool and the workers: each is a unix socket that speaks the function channel's
 * protocol and does what the event says. What launches and kills them is the test, in firerunner's place.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLogger } from '../../src/controller/log.ts';
import type { FunctionVms } from '../../src/controller/pool/function-vms.ts';
import { Vm, type VmOwner } from '../../src/controller/pool/vm.ts';
import { VmPool, type VmPoolOptions } from '../../src/controller/pool/vm-pool.ts';
import type { StartKind } from '../../src/controller/task.ts';
import { SnapfaasError } from '../../src/protocol/errors.ts';
import { encodeFrame, FrameReader, type Frame } from '../../src/protocol/frame.ts';
import { FrameType, MAX_FRAME_BYTES } from '../../src/protocol/guest.ts';
import type { LaunchKind } from '../../src/protocol/runner.ts';
import { FunctionRegistry, type FunctionUrl } from '../../src/registry/function-registry.ts';
import { urlIdOf } from '../../src/registry/url-id.ts';
import type { FunctionVersion } from '../../src/registry/function-version.ts';

const TIMINGS = { spawnMs: 1, bootMs: 1, loadMs: 1, resumeMs: 1 } as const;

export function functionConfig(name: string, keys: Partial<FunctionVersion> = {}): FunctionVersion {
  return {
    name,
    version: '$LATEST',
    runtime: 'python3',
    runtimefsPath: '',
    appfs: null,
    vcpus: 1,
    memoryMib: 128,
    concurrencyLimit: null,
    timeoutMs: 60_000,
    handler: null,
    environment: {},
    layers: [],
    snapshotLayers: null,
    network: false,
    ...keys,
  };
}

/** Functions that answer. */
export function registryOf(functions: readonly FunctionVersion[]): FunctionRegistry {
  const registry = new FunctionRegistry();
  for (const version of functions) registry.publish(version);
  return registry;
}

/** A pool with one version of each function, so that names are enough. */
export class TestPool extends VmPool {
  readonly #functions: Map<string, FunctionVms>;

  constructor({ functions, ...options }: VmPoolOptions & { readonly functions: readonly FunctionVersion[] }) {
    super(options);
    this.#functions = new Map(functions.map((version) => [version.name, this.add(version)]));
  }

  fn(name: string): FunctionVms {
    const fn = this.#functions.get(name);
    if (fn === undefined) throw new Error(`the test has no function ${name}`);
    return fn;
  }

  /** Another version takes the place of the one before, which is retired. */
  replace(name: string): FunctionVms {
    const before = this.fn(name).config;
    const fn = this.add({ ...before });
    this.#functions.set(name, fn);
    this.retire(before);
    return fn;
  }
}

/** Longer than any request has to wait for its rights, in ms. */
const LONG_MS = 1000;

/** A request that goes straight to the pool, and does not wait for room. @throws SnapfaasError as the pool does. */
export async function withVm<T>(
  pool: VmPool,
  fn: FunctionVms,
  signal: AbortSignal,
  use: (vm: Vm, start: StartKind) => Promise<T>,
  tenant: string | null = null,
): Promise<T> {
  pool.check(fn);
  const lease = pool.acquire(fn, LONG_MS, tenant);
  if (lease !== null) return pool.use(lease, signal, use);
  throw pool.giveUp(fn, 0) ?? new SnapfaasError('resource_exhausted', 'there may be room soon');
}

/** A clock on which each look is a minute later: no idle VM is needed any more. */
export function patientClock(): () => number {
  let now = 0;
  return () => (now += 60_000);
}

export class ScriptedGuests {
  readonly #directory = mkdtempSync(join(tmpdir(), 'snapfaas-guests-'));
  readonly #servers = new Map<string, { server: Server; sockets: Set<Socket>; answers: number }>();
  /** Where the VMs write. */
  logger = createLogger('silent');
  #created = 0;
  /** How many are alive now and were at most. */
  alive = 0;
  mostAlive = 0;
  /** How the next launches say they went. */
  launchKind: LaunchKind = 'cold';
  /** Rehearsals that guests were asked for; set `answersRehearsals` to false to leave them unanswered. */
  rehearsals = 0;
  answersRehearsals = true;
  /** So many of the next requests find that their runtime has ended. */
  endings = 0;
  /** Requests that are held, by their VM, until `release`; what is called off is answered, unless `answersCancels` is set to false. */
  readonly held = new Map<Vm, Set<Held>>();
  answersCancels = true;
  /** Set to make the next launches fail with these words. */
  launchFailure: string | null = null;
  /** Set to keep launches waiting until it resolves. */
  launchGate: Promise<void> = Promise.resolve();
  /** Set to keep killed guests' processes from ending until it resolves. */
  exitGate: Promise<void> = Promise.resolve();

  createVm(fn: FunctionVms, owner: Partial<VmOwner>, isAhead = false): Vm {
    const whole: VmOwner = {
      kill: (vm) => void this.end(vm, 'killed'),
      pause: () => undefined,
      resume: () => undefined,
      onLost: () => undefined,
      onFallback: () => undefined,
      ...owner,
    };
    return new Vm(`guest-${++this.#created}`, fn, whole, this.logger, isAhead);
  }

  async start(vm: Vm): Promise<void> {
    this.alive += 1;
    this.mostAlive = Math.max(this.mostAlive, this.alive);
    await this.launchGate;
    if (this.launchFailure !== null) {
      this.alive -= 1;
      vm.onGone('the launch failed', { kind: 'vmm', message: this.launchFailure, console: [] });
      return;
    }
    if (vm.state === 'dead') {
      this.alive -= 1;
      vm.onGone('killed while it was launched', null);
      return;
    }
    const path = join(this.#directory, vm.id);
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      const reader = new FrameReader(MAX_FRAME_BYTES);
      socket.on('error', () => undefined);
      socket.on('data', (chunk: Buffer) => {
        for (const frame of reader.push(chunk)) this.#onFrame(vm, socket, frame);
      });
    });
    this.#servers.set(vm.id, { server, sockets, answers: 0 });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    vm.onChannel({ socketPath: path, vsockPort: null });
    vm.onReady({ timings: { kind: this.launchKind, ...TIMINGS }, fallback: null, pid: process.pid });
  }

  #onFrame(vm: Vm, socket: Socket, { type, header, payload }: Frame): void {
    const guest = this.#servers.get(vm.id);
    const slot = typeof header['slot'] === 'number' ? header['slot'] : 0;
    if (type === FrameType.cancel) return this.#cancel(vm, slot);
    if (type === FrameType.invoke && this.endings > 0) {
      this.endings -= 1;
      return vm.onRuntimeExited('the runtime ended with signal 9', { signal: 9, begun: guest?.answers ?? 0 });
    }
    if (type === FrameType.invoke && guest !== undefined) guest.answers += 1;
    if (payload.toString() === '"hold"') return this.#hold(vm, { socket, slot, payload });
    if (type !== FrameType.rehearse) return answer(socket, slot, payload);
    this.rehearsals += 1;
    if (this.answersRehearsals) socket.write(encodeFrame(FrameType.result, undefined, payload));
  }

  #hold(vm: Vm, held: Held): void {
    let ofVm = this.held.get(vm);
    if (ofVm === undefined) this.held.set(vm, (ofVm = new Set()));
    ofVm.add(held);
  }

  #cancel(vm: Vm, slot: number): void {
    if (!this.answersCancels) return;
    for (const held of this.held.get(vm) ?? []) {
      if (held.slot !== slot) continue;
      this.held.get(vm)?.delete(held);
      answer(held.socket, slot, Buffer.from('"fail"'));
    }
  }

  get heldCount(): number {
    return [...this.held.values()].reduce((sum, { size }) => sum + size, 0);
  }

  /** Answers the oldest of the requests that are held, up to so many. */
  release(most = Infinity): void {
    for (const [vm, ofVm] of this.held) {
      for (const held of ofVm) {
        if (most <= 0) return;
        most -= 1;
        ofVm.delete(held);
        if (this.#servers.has(vm.id)) answer(held.socket, held.slot, Buffer.from('1'));
      }
    }
  }

  /** The guest's process ends. */
  async end(vm: Vm, reason: string): Promise<void> {
    const guest = this.#servers.get(vm.id);
    if (guest === undefined) return;
    this.#servers.delete(vm.id);
    this.held.delete(vm);
    guest.server.close();
    for (const socket of guest.sockets) socket.destroy();
    await this.exitGate;
    this.alive -= 1;
    vm.onGone(reason, null);
  }

  close(): void {
    for (const { server, sockets } of this.#servers.values()) {
      server.close();
      for (const socket of sockets) socket.destroy();
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

interface Held {
  readonly socket: Socket;
  readonly slot: number;
  readonly payload: Buffer;
}

/**
 * The event says what to do: "fail", "fail and exit", "answer twice", "garbage", "hang", "hold", "not json"; others are sent back.
 */
function answer(socket: Socket, slot: number, event: Buffer): void {
  const failure = Buffer.from(JSON.stringify({ type: 'Error', message: 'as asked', stack: [] }));
  const header = slot === 0 ? undefined : { slot };
  const result = encodeFrame(FrameType.result, header, event);
  switch (event.toString()) {
    case '"fail"':
      return void socket.write(encodeFrame(FrameType.failure, header, failure));
    case '"fail and exit"':
      return void socket.write(encodeFrame(FrameType.failure, { ...header, exiting: true }, failure));
    case '"garbage"':
      return void socket.write(Buffer.from('\0\0\0\0nonsense'));
    case '"not json"':
      return void socket.write(encodeFrame(FrameType.result, header, Buffer.from('{')));
    case '"answer twice"':
      return void socket.write(Buffer.concat([result, result]));
    case '"hang"':
      return;
    default:
      return void socket.write(result);
  }
}

/** An address of a function, open and buffered unless said otherwise. */
export function functionUrl(name: string, keys: Partial<FunctionUrl> = {}): FunctionUrl {
  const now = '2026-01-02T03:04:05.678Z';
  return {
    ...{ id: urlIdOf(name), function: name, qualifier: null, created: now, modified: now },
    ...{ authType: 'NONE', invokeMode: 'BUFFERED', cors: null },
    ...keys,
  };
}
