/**
 * Runs in firerunner. QEMU as the VMM: with hardware virtualisation where KVM really runs a guest, else under software
 * emulation (TCG), which needs nothing of the host.
 */
import { closeSync, openSync } from 'node:fs';
import type { MachineSpec, QemuAccelerator } from '../../protocol/runner.ts';
import { LaunchError, type Driver, type Machine, type SavedMachine, type Surroundings } from '../machine.ts';
import { functionSocket, MEMORY_FD, qemuArguments } from './command-line.ts';
import type { GenericVmms } from './generic-vmms.ts';
import { loadState, saveState } from './migration.ts';
import { qemuStamp } from './stamp.ts';
import { QemuVmm } from './vmm.ts';

/** @param generic closed with the driver; null: none are started ahead. */
export function qemuDriver(accelerator: QemuAccelerator, generic: GenericVmms | null = null): Driver {
  return {
    name: 'qemu',
    notice: accelerator === 'tcg' ? 'QEMU runs the VMs under software emulation, which is slower than KVM' : null,
    close: () => generic?.close() ?? Promise.resolve(),
    snapshots: {
      filesDirectory: null,
      stamp: () => qemuStamp(accelerator),
      restore: (spec, saved, surroundings) => restore(spec, accelerator, generic, saved, surroundings),
    },
    async boot(spec, surroundings) {
      const vmm = await startQemu(spec, accelerator, null, surroundings);
      return runningMachine(vmm, null, surroundings);
    },
  };
}

async function restore(
  spec: MachineSpec,
  accelerator: QemuAccelerator,
  generic: GenericVmms | null,
  saved: SavedMachine,
  surroundings: Surroundings,
): Promise<Machine> {
  const ahead = surroundings.savable === undefined ? generic : null;
  try {
    const taken = await ahead?.take(spec, saved, surroundings);
    const vmm = taken ?? (await startQemu(spec, accelerator, saved, surroundings));
    return await runningMachine(vmm, saved, surroundings);
  } finally {
    ahead?.restored(spec);
  }
}

/** A process whose machine is there, with its devices, and does not run yet. */
async function startQemu(
  spec: MachineSpec,
  accelerator: QemuAccelerator,
  saved: SavedMachine | null,
  { directory, network, signal, savable }: Surroundings,
): Promise<QemuVmm> {
  signal.throwIfAborted();
  const privateMemory = saved === null ? null : { path: `/proc/self/fd/${MEMORY_FD}`, share: false };
  const memory = savable === undefined ? privateMemory : { path: savable.memoryPath, share: true };
  const from = saved === null ? 'boot' : 'restore';
  const socketPath = functionSocket(directory);
  const args = qemuArguments(spec, { accelerator, from, socketPath, memory, network });
  // A description of its own: QEMU reads from where it stands, and others restore from the same file.
  const stateIn = saved === null ? null : openSync(`/proc/self/fd/${saved.state.fd}`, 'r');
  try {
    return await QemuVmm.start(args, { state: stateIn ?? 'ignore', memory: saved?.memory.fd ?? 'ignore' }, signal);
  } finally {
    if (stateIn !== null) closeSync(stateIn);
  }
}

async function runningMachine(
  vmm: QemuVmm,
  saved: SavedMachine | null,
  { directory, onChannel, signal, savable }: Surroundings,
): Promise<Machine> {
  const spawnedAt = performance.now();
  // QEMU opens its sockets before it takes commands.
  onChannel({ socketPath: functionSocket(directory), vsockPort: null });
  if (saved !== null) await vmm.untilEnd(signal, (end) => loadState(vmm.qmp, end));
  return {
    control: vmm.control,
    spawnedAt,
    get pid() {
      return vmm.pid;
    },
    exited: vmm.exited,
    consoleTail: () => vmm.consoleTail(),
    pause: () => vmm.pause(),
    resume: () => vmm.resume(),
    async snapshot() {
      if (savable === undefined) throw new LaunchError('the machine was not started for a snapshot');
      await vmm.untilEnd(signal, (end) => saveState(vmm.qmp, directory, savable.statePath, end));
    },
    kill: () => vmm.kill(),
  };
}
