/**
 * Runs in firerunner. QEMU as the VMM: with hardware virtualisation where KVM really runs a guest, else under software
 * emulation (TCG), which needs nothing of the host.
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, createWriteStream, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { messageOf } from '../../protocol/errors.ts';
import { CONTROL_PORT_NAME, FUNCTION_PORT_NAME } from '../../protocol/guest.ts';
import type { MachineSpec, QemuAccelerator } from '../../protocol/runner.ts';
import { FrameSocket } from '../frame-socket.ts';
import { OutputTail, startVmmProcess, type VmmProcess } from '../vmm-process.ts';
import { cpuIdentity } from './cpu.ts';
import {
  LaunchError,
  type Driver,
  type Machine,
  type NetworkAttachment,
  type SavedMachine,
  type Surroundings,
} from './driver.ts';
import { Qmp } from './qmp.ts';

export const QEMU_COMMAND = 'qemu-system-x86_64';

/**
 * `quiet` keeps the console short, `reboot=t panic=-1` turns a halt or a kernel panic into a reset, on which QEMU exits
 * (`-no-reboot`). The console stays on: its last lines explain a VM that does not come up.
 */
const KERNEL_ARGS = 'console=ttyS0 quiet reboot=t panic=-1 random.trust_cpu=on';

/**
 * Translation cache of TCG per VM, in MiB. QEMU's own default lets it grow to 1 GiB; with 32 neither a boot nor a warm
 * request was slower than with 128, and a VM takes 50 to 90 MB less of the host.
 */
const TRANSLATION_CACHE_MIB = 32;

/** Deny what QEMU never needs here, should a guest ever break into it. */
const SANDBOX = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny';

/** Descriptors that QEMU inherits; the sockets are pairs, connected from the start. */
const QMP_FD = 3;
const CONTROL_FD = 4;
const STATE_IN_FD = 5;
const MEMORY_FD = 6;

/** The function channel's socket below a machine's directory. */
function functionSocket(directory: string): string {
  return join(directory, 'function.sock');
}

/** A comma separates QEMU's options; inside a value it is written twice. */
function quoted(path: string): string {
  return path.replaceAll(',', ',,');
}

/** How a machine comes to life, as far as the command line goes. */
export interface QemuStart {
  readonly accelerator: QemuAccelerator;
  /** `restore`: the device state is loaded from a descriptor, and no kernel is given: it is in the memory. */
  readonly from: 'boot' | 'restore';
  /** A file that is mapped as the guest's memory; null: memory of QEMU's own. */
  readonly memory: { readonly path: string; readonly share: boolean } | null;
  readonly network: NetworkAttachment | null;
}

/**
 * The card's features are part of the device state, and the host's end must offer them to every restore: they are named
 * where they would depend on that end. Without a control queue the card takes whatever arrives: its MAC is the guest's
 * own affair, and changes with each restore.
 */
const NETWORK_CARD = [
  ...['ctrl_vq', 'ctrl_rx', 'ctrl_rx_extra', 'ctrl_vlan', 'ctrl_mac_addr', 'ctrl_guest_offloads', 'guest_announce'],
  ...['host_ufo', 'guest_ufo'],
].map((feature) => `${feature}=off`);

/** QEMU's command line. Devices and their order are part of a snapshot: equal for a boot and its restore. */
export function qemuArguments(spec: MachineSpec, directory: string, start: QemuStart): string[] {
  const { accelerator, memory, network } = start;
  const disk = (id: string, path: string): string[] => [
    ...['-drive', `id=${id},file=${quoted(path)},format=raw,if=none,readonly=on`],
    ...['-device', `virtio-blk-pci,drive=${id}`],
  ];
  const port = (id: string, chardev: string, name: string): string[] => [
    ...['-chardev', `socket,id=${id},${chardev}`],
    ...['-device', `virtserialport,chardev=${id},name=${name}`],
  ];
  const machine = 'q35,vmport=off,smbus=off,sata=off,usb=off';
  return [
    ...['-machine', memory === null ? machine : `${machine},memory-backend=ram`],
    ...(memory === null
      ? []
      : [
          '-object',
          `memory-backend-file,id=ram,size=${spec.memoryMib}M,mem-path=${quoted(memory.path)},` +
            `share=${memory.share ? 'on' : 'off'}`,
        ]),
    ...['-accel', accelerator === 'kvm' ? 'kvm' : `tcg,tb-size=${TRANSLATION_CACHE_MIB}`],
    ...['-cpu', accelerator === 'kvm' ? 'host' : 'max'],
    ...['-smp', String(spec.vcpus)],
    ...['-m', `${spec.memoryMib}M`],
    ...['-nodefaults', '-no-user-config', '-nographic', '-no-reboot'],
    ...['-sandbox', SANDBOX],
    ...(start.from === 'restore'
      ? ['-incoming', 'defer']
      : [
          ...['-kernel', spec.kernelPath, '-initrd', spec.initrdPath],
          ...['-append', spec.kernelArgs === '' ? KERNEL_ARGS : `${KERNEL_ARGS} ${spec.kernelArgs}`],
        ]),
    ...['-chardev', `socket,id=qmp,fd=${QMP_FD}`, '-mon', 'chardev=qmp,mode=control'],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...disk('rootfs', spec.rootfsPath),
    ...(spec.appfsPath === null ? [] : disk('appfs', spec.appfsPath)),
    ...['-device', 'virtio-rng-pci'],
    ...['-device', 'virtio-serial-pci'],
    ...port('function', `path=${quoted(functionSocket(directory))},server=on,wait=off`, FUNCTION_PORT_NAME),
    ...port('control', `fd=${CONTROL_FD}`, CONTROL_PORT_NAME),
    ...(network === null
      ? []
      : [
          ...['-netdev', `tap,id=net0,ifname=${network.tapName},script=no,downscript=no,vnet_hdr=on`],
          ...['-device', `virtio-net-pci,netdev=net0,mac=${network.mac},romfile=,${NETWORK_CARD.join(',')}`],
        ]),
  ];
}

export function qemuDriver(accelerator: QemuAccelerator): Driver {
  return {
    name: 'qemu',
    notice: accelerator === 'tcg' ? 'QEMU runs the VMs under software emulation, which is slower than KVM' : null,
    canPause: true,
    close: () => Promise.resolve(),
    snapshots: {
      filesDirectory: null,
      stamp: () => (stamps[accelerator] ??= qemuStamp(accelerator)),
      restore: (spec, saved, surroundings) => startQemu(spec, accelerator, saved, surroundings),
    },
    boot: (spec, surroundings) => startQemu(spec, accelerator, null, surroundings),
  };
}

async function startQemu(
  spec: MachineSpec,
  accelerator: QemuAccelerator,
  saved: SavedMachine | null,
  { directory, network, onChannel, signal, savable }: Surroundings,
): Promise<Machine> {
  signal.throwIfAborted();
  const privateMemory = saved === null ? null : { path: `/proc/self/fd/${MEMORY_FD}`, share: false };
  const memory = savable === undefined ? privateMemory : { path: savable.memoryPath, share: true };
  const from = saved === null ? 'boot' : 'restore';
  const args = qemuArguments(spec, directory, { accelerator, from, memory, network });
  // A description of its own: QEMU reads from where it stands, and others restore from the same file.
  const stateIn = saved === null ? null : openSync(`/proc/self/fd/${saved.state.fd}`, 'r');
  let vmm: VmmProcess;
  try {
    const inherited = [stateIn ?? 'ignore', saved?.memory.fd ?? 'ignore'] as const;
    vmm = await startVmmProcess(QEMU_COMMAND, args, {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe', ...inherited],
      cwd: '/',
      // One heap: each further one would keep memory that an idle VM has no use for.
      env: { ...process.env, MALLOC_ARENA_MAX: '1' },
    });
  } finally {
    if (stateIn !== null) closeSync(stateIn);
  }
  const tail = new OutputTail();
  tail.watch(vmm.child.stdout);
  tail.watch(vmm.child.stderr);
  // A VMM that ends (a bad option, a missing file) must not leave us waiting for it.
  const ended = new AbortController();
  void vmm.exited.then((exit) => ended.abort(new LaunchError(exit.reason, { console: tail.lines() })));
  const anyEnd = AbortSignal.any([signal, ended.signal]);
  try {
    const qmp = new Qmp(pairEnd(vmm, QMP_FD));
    const control = new FrameSocket(pairEnd(vmm, CONTROL_FD));
    await untilAborted(qmp.greeting, anyEnd);
    const spawnedAt = performance.now();
    // QEMU opens its sockets before it takes commands.
    onChannel({ socketPath: functionSocket(directory), vsockPort: null });
    if (saved !== null) await loadState(qmp, anyEnd);
    const { child } = vmm;
    return {
      control,
      spawnedAt,
      get pid() {
        return child.exitCode === null && child.signalCode === null ? (child.pid ?? null) : null;
      },
      exited: vmm.exited,
      consoleTail: () => tail.lines(),
      pause: () => void child.kill('SIGSTOP'),
      resume: () => void child.kill('SIGCONT'),
      async snapshot() {
        if (savable === undefined) throw new LaunchError('the machine was not started for a snapshot');
        await saveState(qmp, directory, savable.statePath, anyEnd);
      },
      kill: () => vmm.kill(),
    };
  } catch (error) {
    // The end of the process tells more than what it broke off.
    const reason = await endOf(vmm, ended.signal, error);
    throw signal.aborted ? signal.reason : reason;
  }
}

/** Our end of a socket pair whose other end QEMU inherited. */
function pairEnd(vmm: VmmProcess, fd: number): Duplex {
  const end = vmm.child.stdio[fd];
  if (end === null || end === undefined || !('write' in end) || !('read' in end)) {
    throw new LaunchError(`no socket was opened for descriptor ${fd} of ${QEMU_COMMAND}`);
  }
  return end as Duplex;
}

async function endOf(vmm: VmmProcess, ended: AbortSignal, error: unknown): Promise<unknown> {
  await vmm.kill();
  if (error instanceof LaunchError) return error;
  const why = messageOf(error);
  const own = ended.reason instanceof LaunchError ? ended.reason : null;
  return new LaunchError(why, { console: own?.console ?? [], cause: error });
}

function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void =>
      reject(signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason)));
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** `events` makes QEMU tell of each step of a migration, so that nobody has to ask again and again. */
const MIGRATION_CAPABILITIES = {
  capabilities: ['x-ignore-shared', 'events'].map((capability) => ({ capability, state: true })),
};

/** The machine runs as soon as its state is loaded: it was started without `-S`. */
async function loadState(qmp: Qmp, signal: AbortSignal): Promise<void> {
  const resumed = qmp.event(
    ({ name, data }) => name === 'RESUME' || (name === 'MIGRATION' && data['status'] === 'failed'),
    signal,
  );
  const [event] = await Promise.all([
    resumed,
    qmp.execute('migrate-set-capabilities', MIGRATION_CAPABILITIES),
    qmp.execute('migrate-incoming', { uri: `fd:${STATE_IN_FD}` }),
  ]);
  if (event.name !== 'RESUME') throw new Error('QEMU could not load the device state of the snapshot');
}

/**
 * QEMU stops the machine by itself, and notes that it ran: only then it runs at once after a restore. It writes to a socket
 * of ours, for it takes no path, and its sandbox allows it no other program.
 */
async function saveState(qmp: Qmp, directory: string, statePath: string, signal: AbortSignal): Promise<void> {
  const socketPath = join(directory, 'state.sock');
  const server = createServer({ pauseOnConnect: true }).listen(socketPath);
  try {
    const connected = once(server, 'connection', { signal }) as Promise<[Socket]>;
    const over = qmp.event(
      ({ name, data }) => name === 'MIGRATION' && ['completed', 'failed', 'cancelled'].includes(String(data['status'])),
      signal,
    );
    const written = connected.then(([socket]) => pipeline(socket, createWriteStream(statePath, { mode: 0o600 })));
    const [event] = await Promise.all([
      over,
      written,
      qmp.execute('migrate-set-capabilities', MIGRATION_CAPABILITIES),
      qmp.execute('migrate', { uri: `unix:${socketPath}` }),
    ]);
    if (event.data['status'] === 'completed') return;
    const info = (await qmp.execute('query-migrate')) as { readonly 'error-desc'?: string };
    throw new LaunchError(`QEMU could not write the device state: ${info['error-desc'] ?? 'it gives no reason'}`);
  } finally {
    server.close();
  }
}

const stamps: Partial<Record<QemuAccelerator, Promise<Readonly<Record<string, string>>>>> = {};

/** The CPU counts under emulation as well: the guest measured the rate of its time stamp counter when it booted. */
async function qemuStamp(accelerator: QemuAccelerator): Promise<Readonly<Record<string, string>>> {
  const [{ stdout }, cpuinfo] = await Promise.all([
    promisify(execFile)(QEMU_COMMAND, ['--version']),
    readFile('/proc/cpuinfo', 'utf8'),
  ]);
  const placeholder = {
    memoryMib: 0,
    vcpus: 0,
    kernelPath: '',
    initrdPath: '',
    rootfsPath: '',
    appfsPath: '',
    kernelArgs: '',
    runtime: 'python3',
    network: true,
  } as const;
  const anyTap = { tapName: '', mac: '' };
  return {
    vmm: stdout.split('\n', 1)[0] ?? '',
    accelerator,
    machine: qemuArguments(placeholder, '', { accelerator, from: 'boot', memory: null, network: anyTap }).join(' '),
    cpu: cpuIdentity(cpuinfo),
  };
}
