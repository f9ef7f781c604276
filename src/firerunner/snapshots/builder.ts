/**
 * Runs in firerunner. Makes layers by running a VM up to the moment that is kept:
 *
 * ```
 *   base layer       boot ──▶ HELLO ──▶ SEAL, SEALED ──▶ stop, save
 *   function layer   restore the base ──▶ LOAD, LOADED ──▶ SEAL, SEALED ──▶ stop, save
 * ```
 *
 * The VM's memory is a file in the layer's temporary directory; what differs from the base is packed into the layer.
 */
import { mkdir, open, rm, statfs, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { LaunchSpec, MachineSpec } from '../../protocol/runner.ts';
import { HostError, LaunchError, type Driver, type Machine, type SavedMachine, type Surroundings } from '../machine.ts';
import { GuestLife, type OtherProcesses, type VmObserver } from '../guest/guest-life.ts';
import { loadRequest, withTap, withTimeLimit } from '../launch.ts';
import type { Tap, TapPool } from '../network/tap-pool.ts';
import type { Layer } from './layer.ts';
import { createWritableCopy, type MemorySource } from './memory.ts';
import type { LayerDraft } from './publication.ts';
import { SnapshotStoreError } from './store-error.ts';

const MIB = 1024 * 1024;
/** How far ahead the guest's clock stands while its random generators are sealed: farther than a layer will live, in ms. */
const SEAL_CLOCK_AHEAD_MS = 20 * 365 * 24 * 3600 * 1000;

export interface BuildContext {
  readonly driver: Driver;
  readonly spec: LaunchSpec;
  /** For sockets; short, as their paths are limited. */
  readonly runDirectory: string;
  /** For machines with a network; null: there are none. */
  readonly taps: TapPool | null;
  readonly onLog: VmObserver['onLog'];
  readonly signal: AbortSignal;
}

/** @throws LaunchError if the guest does not come up. */
export async function buildBase(context: BuildContext, draft: LayerDraft): Promise<void> {
  const { spec, driver } = context;
  const memoryPath = join(draft.directory, 'memory');
  await createBlankMemory(memoryPath, spec.machine);
  await withBlankAppfs(spec.machine, draft.directory, (machine) =>
    runMachine(
      context,
      { memoryPath, statePath: draft.statePath },
      (surroundings) => driver.boot(machine, surroundings),
      async (guest) => {
        await guest.hello();
        await sealGenerators(guest);
      },
    ),
  );
  await draft.writeMemory(memoryPath, null);
  await rm(memoryPath);
}

/** What a function layer is built on. */
export interface BuildBase {
  readonly layer: Layer;
  readonly memory: MemorySource;
  /** The two as a driver takes them. */
  readonly saved: SavedMachine;
}

/**
 * @param base null: the machine is booted, and the layer holds all of its memory.
 * @param onLoaded called when the function is imported; what follows is saving it.
 * @throws FunctionLoadError if the import or a hook fails; LaunchError if the VM does, or if the function has processes
 * beside its runtime.
 */
export async function buildFunction(
  context: BuildContext,
  base: BuildBase | null,
  draft: LayerDraft,
  onLoaded: () => void = () => undefined,
): Promise<void> {
  const { spec, driver } = context;
  const { snapshots } = driver;
  if (snapshots === null) throw new LaunchError(`the ${driver.name} driver has no snapshots`);
  const memoryPath = join(draft.directory, 'memory');
  if (base === null) await createBlankMemory(memoryPath, spec.machine);
  else await createWritableCopy(memoryPath, base.memory.layers);
  await runMachine(
    context,
    { memoryPath, statePath: draft.statePath },
    (surroundings) =>
      base === null
        ? driver.boot(spec.machine, surroundings)
        : snapshots.restore(spec.machine, base.saved, surroundings),
    async (guest, tap) => {
      if (base === null) await guest.hello();
      if (tap !== null) guest.network(tap.guest);
      guest.clock.set();
      await guest.load(loadRequest(driver, spec, 'snap-start'));
      onLoaded();
      await guest.seal('hooks');
      // A restored guest is silent until it has an address of its own.
      if (tap !== null) guest.network(null);
      refuseOtherProcesses(await sealGenerators(guest));
    },
  );
  await draft.writeMemory(memoryPath, base?.memory ?? null);
  await rm(memoryPath);
}

/** What the runtime's process has drawn so far would be drawn on with in every VM. */
function sealGenerators(guest: GuestLife): Promise<OtherProcesses> {
  guest.clock.setTo(Date.now() + SEAL_CLOCK_AHEAD_MS);
  return guest.seal('generators');
}

/** A runtime reseeds its own generators after a restore; those of other processes nobody can reach. */
function refuseOtherProcesses({ count, names }: OtherProcesses): void {
  if (count === 0) return;
  const what = count === 1 ? 'another process' : `${count} other processes`;
  throw new LaunchError(
    `the function has ${what} (${names}) when its snapshot is to be taken, whose random numbers would be the same in ` +
      'every VM; start them in the handler, or end them in a hook before the snapshot',
  );
}

/** A VMM that writes to a mapped file on a full file system is killed (SIGBUS) without a word: find out before. */
async function checkSpace(directory: string, { memoryMib }: MachineSpec): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  const freeMib = Math.floor((bavail * bsize) / MIB);
  if (freeMib >= memoryMib) return;
  const reason = `${freeMib} MiB are free and ${memoryMib} MiB may be needed`;
  throw SnapshotStoreError.from(
    Object.assign(new Error(reason), { code: 'ENOSPC', syscall: 'statfs' }),
    'make a snapshot in',
    directory,
  );
}

async function createBlankMemory(path: string, { memoryMib }: MachineSpec): Promise<void> {
  await writeFile(path, '', { mode: 0o600 });
  await truncate(path, memoryMib * MIB);
}

/** Starts a machine, brings its guest to the moment that is kept, saves and ends it. */
async function runMachine(
  { spec, runDirectory, taps, onLog, signal }: BuildContext,
  savable: NonNullable<Surroundings['savable']>,
  start: (surroundings: Surroundings) => Promise<Machine>,
  live: (guest: GuestLife, tap: Tap | null) => Promise<void>,
): Promise<void> {
  await checkSpace(dirname(savable.memoryPath), spec.machine);
  await mkdir(runDirectory, { mode: 0o700 });
  try {
    await withTimeLimit(spec.bootTimeoutMs, signal, async (limited, onMachine) => {
      // Nobody dials the function channel: it has no part in what is kept.
      const onChannel = (): void => undefined;
      const { machine, tap } = await withTap(spec.machine, taps, { signal: limited, isBrief: true }, (network) =>
        start({ directory: runDirectory, network, onChannel, signal: limited, savable }),
      );
      onMachine(machine);
      try {
        const observer = { onChannel, onLog, onRuntimeExited: () => undefined };
        await live(new GuestLife(machine, observer, limited), tap);
        await machine.snapshot();
      } catch (error) {
        // A disk that has filled up since, or cannot be read, does not give a mapped file its pages.
        throw (await machine.kill()).signal === 'SIGBUS' ? HostError.from(error) : error;
      }
      await machine.kill();
    });
  } finally {
    await rm(runDirectory, { recursive: true, force: true });
  }
}

/** Gives `use` a machine whose app file system is a blank disk of the same size: any function's takes its place later. */
async function withBlankAppfs(
  machine: MachineSpec,
  directory: string,
  use: (machine: MachineSpec) => Promise<void>,
): Promise<void> {
  if (machine.appfsPath === null) return use(machine);
  const appfs = await open(machine.appfsPath, 'r');
  const { size } = await appfs.stat().finally(() => appfs.close());
  const blank = join(directory, 'blank-appfs');
  await writeFile(blank, '');
  await truncate(blank, size);
  await use({ ...machine, appfsPath: blank });
  await rm(blank);
}
