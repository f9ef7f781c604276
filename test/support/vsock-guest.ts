/**
 * A guest whose only way to the host is vsock, as under Firecracker: QEMU with a vhost-user device that speaks
 * Firecracker's protocol on a unix socket. https://github.com/firecracker-microvm/firecracker/blob/main/docs/vsock.md
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { Qmp } from '../../src/firerunner/qemu/qmp.ts';
import { ConsoleTail, startVmmProcess, type VmmProcess } from '../../src/firerunner/programs/vmm-process.ts';
import { encodeFrame, FrameReader, type Frame, type FrameHeader } from '../../src/protocol/frame.ts';
import { MAX_FRAME_BYTES } from '../../src/protocol/guest.ts';
import { until } from '../end-to-end/processes.ts';
import { IMAGES, type TestFunction } from './snapctr.ts';

/** Longest wait for an answer of a guest that may have to boot first, on two busy cores, in ms. */
const PATIENCE_MS = 60_000;
/** Longest wait for the answer to CONNECT: without one the guest's driver is not there yet. */
const ATTEMPT_MS = 2000;
/** The guest's driver has started long before that, in ms. */
const DRIVER_START_MS = 3000;
const GUEST_CID = 3;
const MEMORY_MIB = 192;
/** A descriptor that QEMU inherits. */
const QMP_FD = 3;

/** The program of the device, and why it cannot be used, or false. */
export const VHOST_DEVICE = process.env['SNAPFAAS_VHOST_DEVICE_VSOCK'] ?? 'vhost-device-vsock';
export const vhostDeviceIsMissing: string | false =
  spawnSync(VHOST_DEVICE, ['--version']).status === 0
    ? false
    : `${VHOST_DEVICE} cannot be run: cargo install vhost-device-vsock --version 0.3.0 --locked, ` +
      'and have it in PATH or name it in SNAPFAAS_VHOST_DEVICE_VSOCK';

/** Fails instead of waiting for ever. */
export async function soon<T>(what: string, promise: Promise<T>, patienceMs = PATIENCE_MS): Promise<T> {
  const timer = new AbortController();
  const late = sleep(patienceMs, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`not within ${patienceMs} ms: ${what}`);
  });
  late.catch(() => undefined);
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}

/** A connection to one of the guest's ports, and the frames that come on it. */
export class Line {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  readonly #reader = new FrameReader(MAX_FRAME_BYTES);
  readonly #frames: Frame[] = [];
  #stirred: () => void = () => undefined;
  #failure: Error | null = null;

  /** @param rest what came behind the answer to CONNECT. */
  constructor(socket: Socket, rest: Buffer) {
    this.socket = socket;
    socket.on('error', () => undefined);
    this.closed = once(socket, 'close').then(() => this.#fail(new Error('the line was closed by the guest')));
    this.#push(rest);
    socket.on('data', (chunk: Buffer) => this.#push(chunk));
  }

  /** Frames that came and were not taken. */
  get waiting(): readonly Frame[] {
    return this.#frames;
  }

  send(type: number, header?: FrameHeader, payload?: Uint8Array): void {
    this.socket.write(encodeFrame(type, header, payload));
  }

  async next(): Promise<Frame> {
    const take = async (): Promise<Frame> => {
      for (;;) {
        const frame = this.#frames.shift();
        if (frame !== undefined) return frame;
        if (this.#failure !== null) throw this.#failure;
        await new Promise<void>((resolve) => (this.#stirred = resolve));
      }
    };
    return soon('a frame', take());
  }

  /** The next frame of this type; those before it are dropped. */
  async nextOf(type: number): Promise<Frame> {
    for (;;) {
      const frame = await this.next();
      if (frame.type === type) return frame;
    }
  }

  async close(): Promise<void> {
    this.socket.destroy();
    await this.closed;
  }

  #push(chunk: Buffer): void {
    if (this.#failure !== null) return;
    try {
      this.#frames.push(...this.#reader.push(chunk));
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
    this.#stirred();
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#stirred();
  }
}

/** A vhost-user device; `number` tells those of one guest apart. */
async function startDevice(directory: string, number: number): Promise<{ process: VmmProcess; socket: string }> {
  const socket = join(directory, `vhost-${number}.sock`);
  const process = await startVmmProcess(
    VHOST_DEVICE,
    ['--guest-cid', String(GUEST_CID), '--socket', socket, '--uds-path', hostSocket(directory, number)],
    { stdio: 'ignore' },
  );
  await until('the device listens', () => existsSync(socket));
  return { process, socket };
}

function hostSocket(directory: string, number: number): string {
  return join(directory, `v-${number}.sock`);
}

export class VsockGuest {
  readonly #directory: string;
  /** The last one is plugged in. */
  readonly #devices: VmmProcess[];
  readonly #qemu: VmmProcess;
  readonly #qmp: Qmp;
  readonly #console = new ConsoleTail();

  private constructor(directory: string, device: VmmProcess, qemu: VmmProcess) {
    this.#directory = directory;
    this.#devices = [device];
    this.#qemu = qemu;
    this.#qmp = new Qmp(qemu.child.stdio[QMP_FD] as Duplex);
    this.#console.watch(qemu.child.stdout);
    this.#console.watch(qemu.child.stderr);
  }

  /**
   * @param scratch the guest's sockets are in a directory below.
   * @param appImage mounted at /srv.
   */
  static async start(scratch: string, runtime: TestFunction['runtime'], appImage: string): Promise<VsockGuest> {
    const directory = mkdtempSync(join(scratch, 'vm-'));
    const device = await startDevice(directory, 1);
    const disks = [join(IMAGES, 'runtimefs', `${runtime}.ext4`), appImage].flatMap((file, index) => [
      ...['-drive', `id=disk${index},file=${file},format=raw,if=none,readonly=on`],
      ...['-device', `virtio-blk-pci,drive=disk${index}`],
    ]);
    const qemu = await startVmmProcess(
      'qemu-system-x86_64',
      [
        ...['-machine', 'q35,vmport=off,smbus=off,sata=off,usb=off,memory-backend=ram'],
        // The device reads and writes the guest's memory from a process of its own.
        ...['-object', `memory-backend-memfd,id=ram,size=${MEMORY_MIB}M,share=on`],
        ...['-accel', 'tcg,tb-size=64', '-cpu', 'max', '-smp', '1', '-m', `${MEMORY_MIB}M`],
        ...['-nodefaults', '-no-user-config', '-nographic', '-no-reboot'],
        ...['-kernel', join(IMAGES, 'vmlinux'), '-initrd', join(IMAGES, 'initrd.cpio')],
        ...['-append', 'console=ttyS0 loglevel=7 reboot=t panic=-1 random.trust_cpu=on'],
        ...['-chardev', `socket,id=qmp,fd=${QMP_FD}`, '-mon', 'chardev=qmp,mode=control'],
        ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
        ...disks,
        // One to take a device out of, and one to put another into: the guest needs a while before a port is ready again.
        ...['-device', 'pcie-root-port,id=port-1,chassis=1', '-device', 'pcie-root-port,id=port-2,chassis=2'],
        ...['-chardev', `socket,id=vsock-1,path=${device.socket}`],
        ...['-device', 'vhost-user-vsock-pci,id=vsock-1,chardev=vsock-1,bus=port-1'],
      ],
      { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] },
    );
    const guest = new VsockGuest(directory, device.process, qemu);
    // The device answers nobody any more if it is dialled while the guest's driver starts.
    await until('the root file system', () => /EXT4-fs \(vda\): mounted/.test(guest.consoleTail), PATIENCE_MS);
    return guest;
  }

  /**
   * Takes the vsock device out and puts another in. The guest's driver then does what it does after a restore: resets all
   * connections, and keeps what listens. Once in a guest's life.
   */
  async replaceDevice(): Promise<void> {
    const [number, next] = [this.#devices.length, this.#devices.length + 1];
    const isOut = this.#qmp.event(
      ({ name, data }) => name === 'DEVICE_DELETED' && data['device'] === `vsock-${number}`,
      AbortSignal.timeout(PATIENCE_MS),
    );
    await this.#qmp.execute('device_del', { id: `vsock-${number}` });
    await isOut;
    const device = await startDevice(this.#directory, next);
    this.#devices.push(device.process);
    const backend = { type: 'socket', data: { addr: { type: 'unix', data: { path: device.socket } }, server: false } };
    await this.#qmp.execute('chardev-add', { id: `vsock-${next}`, backend });
    const id = `vsock-${next}`;
    await this.#qmp.execute('device_add', { driver: 'vhost-user-vsock-pci', id, chardev: id, bus: `port-${next}` });
    // As at the start; here the guest does not tell.
    await sleep(DRIVER_START_MS);
  }

  get consoleTail(): string {
    return this.#console.lines().join('\n');
  }

  /** Resolves when the machine has ended by itself. */
  get ended(): Promise<unknown> {
    return this.#qemu.exited;
  }

  /** One attempt; null if the guest refuses, or does not answer. */
  async dialOnce(port: number): Promise<Line | null> {
    const socket = connect(hostSocket(this.#directory, this.#devices.length));
    socket.on('error', () => undefined);
    socket.setTimeout(ATTEMPT_MS, () => socket.destroy());
    socket.write(`CONNECT ${port}\n`);
    let answer = Buffer.alloc(0);
    while (!answer.includes('\n')) {
      const chunk = await new Promise<Buffer | null>((resolve) => {
        socket.once('data', resolve);
        socket.once('close', () => resolve(null));
      });
      if (chunk === null) return null;
      answer = Buffer.concat([answer, chunk]);
    }
    socket.setTimeout(0);
    const end = answer.indexOf('\n') + 1;
    if (!/^OK \d+\n$/.test(answer.toString('latin1', 0, end))) throw new Error(`answered ${answer.toString()}`);
    return new Line(socket, answer.subarray(end));
  }

  /** Dials until the guest answers. */
  async dial(port: number): Promise<Line> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const line = await this.dialOnce(port);
      if (line !== null) return line;
      const isOver = Date.now() > deadline || this.#qemu.child.exitCode !== null;
      if (isOver) throw new Error(`port ${port} was not reached; console:\n${this.consoleTail}`);
      await sleep(20);
    }
  }

  async stop(): Promise<void> {
    await Promise.all([this.#qemu, ...this.#devices].map((process) => process.kill()));
    rmSync(this.#directory, { recursive: true });
  }
}
