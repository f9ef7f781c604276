/**
 * Runs in firerunner. QEMU processes that were started before it is known what they are to restore:
 *
 * ```
 *   started, with the size of a machine ──▶ waits (`-preconfig`) ──▶ is told of memory, disks, tap ──▶ makes its devices ──▶ as any other
 *           libraries, accelerator, sandbox                                     x-exit-preconfig
 * ```
 */
import { readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { untilAborted, withLimit } from '../../protocol/abort.ts';
import { messageOf } from '../../protocol/errors.ts';
import type { MachineSpec, QemuAccelerator } from '../../protocol/runner.ts';
import type { MachineExit, NetworkAttachment, SavedMachine, Surroundings } from '../machine.ts';
import { SpareVmms } from '../programs/spare-vmms.ts';
import {
  APPFS_DRIVE,
  functionSocket,
  MEMORY_OBJECT,
  NETWORK_END,
  qemuArguments,
  ROOTFS_DRIVE,
} from './command-line.ts';
import { QemuVmm } from './vmm.ts';

/** From the start of a process to its greeting, in ms. */
const START_LIMIT_MS = 10_000;
/** What takes the place of one that was taken would compete with its guest for the processor: so much later, in ms. */
const REFILL_MS = 200;
/** A restored guest has the address that it was saved with, and then takes that of its tap. */
const ANY_MAC = '02:00:00:00:00:01';
/** So many failures in a row, and it is not tried again. */
const MOST_FAILURES = 3;

export interface GenericOptions {
  readonly accelerator: QemuAccelerator;
  /** How many wait at most, of all sizes together. */
  readonly size: number;
  /** firerunner's own, for sockets. */
  readonly directory: string;
  /** Tells the user why none wait. */
  readonly say: (text: string) => void;
}

/** What has to be known at the start. */
type MachineKind = Pick<MachineSpec, 'memoryMib' | 'vcpus' | 'network'> & { readonly hasAppfs: boolean };

interface Pool {
  readonly kind: MachineKind;
  readonly spares: SpareVmms<GenericVmm>;
}

/** As many wait as were restored last, each of the size that one of these had. */
export class GenericVmms {
  readonly #options: GenericOptions;
  readonly #pools = new Map<string, Pool>();
  /** Keys of `#pools`, by the last restores, the latest first. */
  #recent: string[] = [];
  #made = 0;
  /** Of those that were taken, in a row. */
  #failures = 0;
  #refill: NodeJS.Timeout | null = null;
  readonly #closing = new Set<Promise<void>>();
  #isClosed = false;

  constructor(options: GenericOptions) {
    this.#options = options;
  }

  /**
   * Makes a machine of one that waits, as `GenericVmm.become`.
   *
   * @returns null if none waits, or it turns out to be of no use: the launch starts its own, which tells what is wrong.
   * @throws the signal's reason.
   */
  async take(spec: MachineSpec, saved: SavedMachine, surroundings: Surroundings): Promise<QemuVmm | null> {
    const { signal } = surroundings;
    const generic = await this.#pools.get(keyOf(kindOf(spec)))?.spares.takeStarted(signal);
    if (generic === undefined || generic === null) return null;
    try {
      const vmm = await generic.become(spec, saved, surroundings);
      this.#failures = 0;
      return vmm;
    } catch (error) {
      if (signal.aborted) throw error;
      this.#failures += 1;
      if (this.#failures >= MOST_FAILURES) this.#giveUp(messageOf(error));
      return null;
    }
  }

  /** A machine of this size was restored, and others of its size may be next. */
  restored(spec: MachineSpec): void {
    if (this.#isClosed) return;
    const kind = kindOf(spec);
    const key = keyOf(kind);
    this.#recent = [key, ...this.#recent].slice(0, this.#options.size);
    if (!this.#pools.has(key)) this.#pools.set(key, { kind, spares: this.#spares(kind) });
    if (this.#refill !== null) return;
    this.#refill = setTimeout(() => {
      this.#refill = null;
      this.#adjust();
    }, REFILL_MS);
    this.#refill.unref();
  }

  /** Ends all that wait. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#refill !== null) clearTimeout(this.#refill);
    this.#recent = [];
    this.#adjust();
    await Promise.all(this.#closing);
  }

  #adjust(): void {
    for (const [key, { spares }] of this.#pools) {
      const wanted = this.#recent.filter((other) => other === key).length;
      if (wanted > 0) {
        spares.resize(wanted);
        spares.refill();
      } else {
        this.#pools.delete(key);
        const closing = spares.close().finally(() => this.#closing.delete(closing));
        this.#closing.add(closing);
      }
    }
  }

  /** This QEMU makes no machine of what it is told. */
  #giveUp(why: string): void {
    if (this.#isClosed) return;
    this.#options.say(`QEMU cannot be started before its machine is known, and each launch starts its own: ${why}`);
    void this.close();
  }

  #spares(kind: MachineKind): SpareVmms<GenericVmm> {
    const { accelerator, directory, say } = this.#options;
    const start = (signal: AbortSignal): Promise<GenericVmm> =>
      GenericVmm.start(kind, accelerator, join(directory, `spare-${++this.#made}.sock`), signal);
    return new SpareVmms({ size: 0, start, say, now: () => performance.now() });
  }
}

export class GenericVmm {
  readonly vmm: QemuVmm;
  readonly exited: Promise<MachineExit>;
  readonly #socketPath: string;

  private constructor(vmm: QemuVmm, socketPath: string) {
    this.vmm = vmm;
    this.#socketPath = socketPath;
    this.exited = vmm.exited.then(async (exit) => {
      await removeSocket(socketPath);
      return exit;
    });
  }

  static async start(
    { memoryMib, vcpus, network: hasNetwork, hasAppfs }: MachineKind,
    accelerator: QemuAccelerator,
    socketPath: string,
    signal: AbortSignal,
  ): Promise<GenericVmm> {
    const spec: MachineSpec = {
      ...{ memoryMib, vcpus, kernelPath: '', initrdPath: '', rootfsPath: '', appfsPath: hasAppfs ? '' : null },
      ...{ kernelArgs: '', runtime: null, network: hasNetwork },
    };
    const network = hasNetwork ? { tapName: '', mac: ANY_MAC } : null;
    const args = qemuArguments(spec, { accelerator, from: 'preconfig', socketPath, memory: null, network });
    const inherited = { state: 'pipe', memory: 'ignore' } as const;
    try {
      const vmm = await withLimit(START_LIMIT_MS, signal, (limited) => QemuVmm.start(args, inherited, limited));
      return new GenericVmm(vmm, socketPath);
    } catch (error) {
      await removeSocket(socketPath);
      throw error;
    }
  }

  get pid(): number | null {
    return this.vmm.pid;
  }

  kill(): Promise<MachineExit> {
    void this.vmm.kill();
    return this.exited;
  }

  /**
   * Makes the machine. Its device state is on its way then, to be loaded from the descriptor that it inherited.
   *
   * @throws LaunchError if QEMU refuses, or ends; the signal's reason. It has ended then.
   */
  async become(spec: MachineSpec, saved: SavedMachine, { directory, network, signal }: Surroundings): Promise<QemuVmm> {
    const { vmm } = this;
    const socketPath = functionSocket(directory);
    await vmm.untilEnd(signal, async (end) => {
      const made = machineCommands(spec, saved, network).map(([command, args]) => vmm.qmp.execute(command, args));
      const moved = rename(this.#socketPath, socketPath);
      // It is loaded later, but its file may be closed when this is over.
      const stateSent = readFile(`/proc/self/fd/${saved.state.fd}`).then((bytes) => vmm.stateIn.end(bytes));
      try {
        await untilAborted(Promise.all([moved, stateSent, ...made]), end);
      } finally {
        // Whoever starts another QEMU then, in the same place, finds nothing under way.
        await Promise.allSettled([moved, stateSent]);
      }
    });
    return vmm;
  }
}

/** What `qemuArguments` says of memory, disks and network of other machines, and that it is all. */
function machineCommands(
  { memoryMib, rootfsPath, appfsPath }: MachineSpec,
  { memory }: SavedMachine,
  network: NetworkAttachment | null,
): readonly (readonly [command: string, args?: Readonly<Record<string, unknown>>])[] {
  const disk = (name: string, filename: string) =>
    [
      'blockdev-add',
      { 'node-name': name, driver: 'raw', 'read-only': true, file: { driver: 'file', filename, 'read-only': true } },
    ] as const;
  const file = { 'mem-path': `/proc/${process.pid}/fd/${memory.fd}`, share: false };
  return [
    ['object-add', { 'qom-type': 'memory-backend-file', id: MEMORY_OBJECT, size: memoryMib * 1024 * 1024, ...file }],
    ['qom-set', { path: '/machine', property: 'memory-backend', value: `/objects/${MEMORY_OBJECT}` }],
    disk(ROOTFS_DRIVE, rootfsPath),
    ...(appfsPath === null ? [] : [disk(APPFS_DRIVE, appfsPath)]),
    ...(network === null
      ? []
      : [
          [
            'netdev_add',
            { type: 'tap', id: NETWORK_END, ifname: network.tapName, script: 'no', downscript: 'no', vnet_hdr: true },
          ] as const,
        ]),
    ['x-exit-preconfig'],
  ];
}

/** Of one that became no machine: else it is elsewhere. */
function removeSocket(path: string): Promise<void> {
  return rm(path, { force: true }).catch(() => undefined);
}

function kindOf({ memoryMib, vcpus, network, appfsPath }: MachineSpec): MachineKind {
  return { memoryMib, vcpus, network, hasAppfs: appfsPath !== null };
}

function keyOf({ memoryMib, vcpus, network, hasAppfs }: MachineKind): string {
  return [memoryMib, vcpus, network, hasAppfs].join();
}
