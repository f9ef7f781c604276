/**
 * Runs in firerunner. Firecracker as the VMM, the driver for hosts with a working KVM. A launch takes a process that was
 * started ahead, links the files of its machine into its directory, and sends one request (to load) or a few (to boot).
 */
import { readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import type { Socket } from 'node:net';
import { CONTROL_VSOCK_PORT, FUNCTION_VSOCK_PORT } from '../../protocol/guest.ts';
import type { MachineSpec } from '../../protocol/runner.ts';
import { dialVsock } from '../../protocol/vsock.ts';
import { bootRequests, VMM_FILES, loadRequest, snapshotRequests, type ApiRequest } from './bodies.ts';
import { DialledControl } from './dialled-control.ts';
import type { VmmDirectories } from './vmm-directory.ts';
import type { FirecrackerInstallation } from './installation.ts';
import { FirecrackerVmm } from './vmm.ts';
import { cpuIdentity } from '../host-cpu.ts';
import { SpareVmms } from '../programs/spare-vmms.ts';
import { HostError, type Driver, type Machine, type SavedMachine, type Surroundings } from '../machine.ts';

/** A load opens the files, maps the memory and restores the devices, in ms. */
const LOAD_LIMIT_MS = 10_000;
/** A snapshot writes and syncs all of the memory: this much, and more for each MiB, in ms. */
const SNAPSHOT_LIMIT_MS = 30_000;
const SNAPSHOT_LIMIT_MS_PER_MIB = 20;

export interface FirecrackerOptions {
  readonly installation: FirecrackerInstallation;
  /** Where the processes run: jailed or not. */
  readonly directories: VmmDirectories;
  /** Processes that are kept waiting. */
  readonly prestarted: number;
  /** Tells the user why none can be kept waiting. */
  readonly say: (text: string) => void;
}

export function firecrackerDriver({ installation, directories, prestarted, say }: FirecrackerOptions): Driver {
  const start = async (signal: AbortSignal): Promise<FirecrackerVmm> =>
    FirecrackerVmm.start(await directories.make(), signal);
  const spares = new SpareVmms({ size: prestarted, start, say, now: () => performance.now() });
  spares.refill();
  return {
    name: 'firecracker',
    notice: null,
    async close() {
      await spares.close();
      await directories.close();
    },
    snapshots: {
      filesDirectory: directories.filesDirectory,
      stamp: () => firecrackerStamp(installation),
      restore: (spec, saved, surroundings) => startMachine(spares, spec, saved, surroundings),
    },
    boot: (spec, surroundings) => startMachine(spares, spec, null, surroundings),
  };
}

async function startMachine(
  spares: SpareVmms<FirecrackerVmm>,
  spec: MachineSpec,
  saved: SavedMachine | null,
  surroundings: Surroundings,
): Promise<Machine> {
  const { signal, onChannel, savable } = surroundings;
  const vmm = await spares.take(signal);
  // One that was started ahead has waited for us, not we for it.
  const spawnedAt = performance.now();
  const started = vmm.untilEnd(signal, async (end) => {
    await linkFiles(vmm, spec, saved).catch((error: unknown) => {
      throw HostError.from(error);
    });
    if (saved === null) {
      for (const request of bootRequests(spec, surroundings.network)) await vmm.send(request, end);
    } else {
      await vmm.send(loadRequest(surroundings.network, savable !== undefined), end, LOAD_LIMIT_MS);
    }
    const socket = { socketPath: join(vmm.directory.path, VMM_FILES.vsock), ownerUid: vmm.directory.ownerUid };
    const dial = (): Promise<Socket> => dialVsock({ ...socket, vsockPort: CONTROL_VSOCK_PORT }, end);
    // The guest listens at both ports before it answers at one.
    const onReached = (): void => onChannel({ ...socket, vsockPort: FUNCTION_VSOCK_PORT });
    const control = new DialledControl(await dial(), dial, onReached);
    return machineOf(vmm, control, { spawnedAt, spec, saved, savable, signal });
  });
  // Not before: what takes its place would compete with this launch for the processor.
  return started.finally(() => spares.refill());
}

interface Started {
  readonly spawnedAt: number;
  readonly spec: MachineSpec;
  readonly saved: SavedMachine | null;
  readonly savable: Surroundings['savable'];
  readonly signal: AbortSignal;
}

function machineOf(vmm: FirecrackerVmm, control: DialledControl, started: Started): Machine {
  const { spawnedAt, spec, saved, savable, signal } = started;
  return {
    control,
    spawnedAt,
    get pid() {
      return vmm.pid;
    },
    exited: vmm.exited,
    consoleTail: () => vmm.consoleTail(),
    pause: () => undefined,
    resume: () => undefined,
    async snapshot() {
      if (savable === undefined) throw new Error('the machine was not started for a snapshot');
      // A connection that is open would be reset in each VM that comes of the snapshot.
      control.close();
      await vmm.untilEnd(signal, async (end) => {
        const state = await vmm.directory.linkWritable(VMM_FILES.newState, savable.statePath);
        const memory = await vmm.directory.linkWritable(VMM_FILES.newMemory, savable.memoryPath);
        const limitMs = SNAPSHOT_LIMIT_MS + spec.memoryMib * SNAPSHOT_LIMIT_MS_PER_MIB;
        for (const request of snapshotRequests(saved === null ? 'Full' : 'Diff')) {
          await vmm.send(request, end, limitMs);
        }
        await state.collect();
        await memory.collect();
      });
    },
    kill: () => vmm.kill(),
  };
}

async function linkFiles({ directory }: FirecrackerVmm, spec: MachineSpec, saved: SavedMachine | null): Promise<void> {
  await Promise.all([
    directory.link(VMM_FILES.rootfs, spec.rootfsPath),
    ...(spec.appfsPath === null ? [] : [directory.link(VMM_FILES.appfs, spec.appfsPath)]),
    ...(saved === null
      ? [directory.link(VMM_FILES.kernel, spec.kernelPath), directory.link(VMM_FILES.initrd, spec.initrdPath)]
      : [directory.link(VMM_FILES.state, saved.state), directory.link(VMM_FILES.memory, saved.memory)]),
  ]);
}

/** Firecracker promises to load a snapshot only with the same version, on the same CPU under the same kernel. */
async function firecrackerStamp({ version }: FirecrackerInstallation): Promise<Readonly<Record<string, string>>> {
  const { boot, restore } = requestsOfAnyMachine();
  return {
    vmm: `Firecracker ${version}`,
    machine: JSON.stringify([...boot, restore]),
    cpu: cpuIdentity(await readFile('/proc/cpuinfo', 'utf8')),
    hostKernel: release(),
  };
}

/** The settings that are equal for all machines: a program that sends others must not load what this one made. */
function requestsOfAnyMachine(): { readonly boot: readonly ApiRequest[]; readonly restore: ApiRequest } {
  const nothing: MachineSpec = {
    ...{ memoryMib: 0, vcpus: 0, kernelPath: '', initrdPath: '', rootfsPath: '', appfsPath: '', kernelArgs: '' },
    runtime: null,
    network: false,
  };
  return { boot: bootRequests(nothing, null), restore: loadRequest(null, false) };
}
