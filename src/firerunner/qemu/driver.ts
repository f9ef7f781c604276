/**
 * Runs in firerunner. QEMU as the VMM: with hardware virtualisation where KVM really runs a guest, else under software
 * emulation (TCG), which needs nothing of the host.
 */
import { closeSync, openSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { untilAborted } from '../../protocol/abort.ts';
import { messageOf } from '../../protocol/errors.ts';
import type { MachineSpec, QemuAccelerator } from '../../protocol/runner.ts';
import { FrameSocket } from '../guest/frame-socket.ts';
import { CONTROL_FD, functionSocket, MEMORY_FD, QEMU_COMMAND, qemuArguments, QMP_FD } from './command-line.ts';
import { loadState, saveState } from './migration.ts';
import { Qmp } from './qmp.ts';
import { qemuStamp } from './stamp.ts';
import { ConsoleTail, startVmmProcess, untilEndedByItself, type VmmProcess } from '../programs/vmm-process.ts';
import {
  exitError,
  HostError,
  LaunchError,
  type Driver,
  type Machine,
  type SavedMachine,
  type Surroundings,
} from '../machine.ts';

export function qemuDriver(accelerator: QemuAccelerator): Driver {
  return {
    name: 'qemu',
    notice: accelerator === 'tcg' ? 'QEMU runs the VMs under software emulation, which is slower than KVM' : null,
    close: () => Promise.resolve(),
    snapshots: {
      filesDirectory: null,
      stamp: () => qemuStamp(accelerator),
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
  const tail = new ConsoleTail();
  tail.watch(vmm.child.stdout);
  tail.watch(vmm.child.stderr);
  // A VMM that ends (a bad option, a missing file) must not leave us waiting for it.
  const ended = new AbortController();
  const anyEnd = new AbortController();
  const onAbort = (): void => anyEnd.abort(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  void vmm.exited.then((exit) => {
    ended.abort(exitError(exit, tail.lines()));
    anyEnd.abort(ended.signal.reason);
    signal.removeEventListener('abort', onAbort);
  });
  let isUp = false;
  try {
    const qmp = new Qmp(pairEnd(vmm, QMP_FD));
    const control = new FrameSocket(pairEnd(vmm, CONTROL_FD));
    await untilAborted(qmp.greeting, anyEnd.signal);
    isUp = true;
    const spawnedAt = performance.now();
    // QEMU opens its sockets before it takes commands.
    onChannel({ socketPath: functionSocket(directory), vsockPort: null });
    if (saved !== null) await loadState(qmp, anyEnd.signal);
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
        await saveState(qmp, directory, savable.statePath, anyEnd.signal).catch(async (error: unknown) => {
          throw await endOf(vmm, ended.signal, error);
        });
      },
      kill: () => vmm.kill(),
    };
  } catch (error) {
    // The end of the process tells more than what it broke off.
    const reason = await endOf(vmm, ended.signal, error);
    if (signal.aborted) throw signal.reason;
    // Before it greets it has taken memory, files and taps, and read nothing of a snapshot.
    throw isUp ? reason : HostError.from(reason);
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

/** Ends QEMU. @returns how it ended, if it did so by itself and thereby broke something off; else that error. */
async function endOf(vmm: VmmProcess, ended: AbortSignal, error: unknown): Promise<unknown> {
  if (error instanceof LaunchError) {
    await vmm.kill();
    return error;
  }
  if (pairEnd(vmm, QMP_FD).destroyed) await untilEndedByItself(vmm);
  const own: unknown = ended.reason;
  await vmm.kill();
  if (own instanceof LaunchError) return own;
  const last: unknown = ended.reason;
  return new LaunchError(messageOf(error), { console: last instanceof LaunchError ? last.console : [], cause: error });
}
