/** Runs in the fake Firecracker. How a machine gets its guest: by a boot, or brought to where a snapshot was taken. */
import { Guest, type GuestSurroundings, type SavedGuest } from './guest.ts';
import { GuestMemory } from './guest-memory.ts';
import type { Machine } from './machine.ts';

/** The guest's kernel and init print on the console if they were told to. */
const CONSOLE_ARGUMENT = /(^|\s)console=ttyS0(,|\s|$)/;
/** Less has no room for what the fake keeps in it. */
const MIN_MEMORY_MIB = 16;

/** @throws Error if the configuration is not one that our guest boots with. */
export async function bootGuest(machine: Machine): Promise<void> {
  const began = performance.now();
  const { configuration, vsock } = machine;
  const { faults, exit, journal } = machine.surroundings;
  const args = checkedArguments(machine);
  await faults.perform(faults.take('boot'), exit);
  const surroundings = guestSurroundings(machine);
  if (/(^|\s)snapfaas\.probe(\s|$)/.test(args)) {
    surroundings.onConsole('snapfaas-probe-ok');
    setImmediate(surroundings.onReset);
    return;
  }
  const image = configuration.image(0);
  if (image === null || vsock === null) {
    surroundings.onConsole(`snapfaas-init: no ${image === null ? 'disk' : 'channel'}`);
    setImmediate(surroundings.onReset);
    return;
  }
  machine.guest = await Guest.boot(image, surroundings);
  machine.memory = GuestMemory.boot(configuration.machine.mem_size_mib);
  vsock.attach(machine.guest);
  journal.write('boot', { workMs: performance.now() - began });
}

/** The guest is frozen afterwards. @throws Error if it cannot be brought to where it was. */
export async function restoreGuest(machine: Machine, saved: SavedGuest): Promise<void> {
  machine.guest = await Guest.restore(saved, guestSurroundings(machine));
  machine.guest.freeze();
  machine.vsock?.freeze();
  machine.vsock?.attach(machine.guest);
}

/** A memory file that was changed under a live guest: what the real one dies of. */
export function checkMemory({ mapped, surroundings }: Machine): void {
  const change = mapped?.change() ?? null;
  if (change === null) return;
  surroundings.journal.write('memory-changed', { reason: change });
  surroundings.exit(149, `the memory file of a live machine was changed: ${change}`);
}

/** The real one would start with any arguments; the guest would not come up. */
function checkedArguments({ configuration }: Machine): string {
  const source = configuration.bootSource;
  if (source === null) throw new Error('Cannot start microvm without kernel configuration.');
  const { boot_args: args, initrd_path: initrd } = source;
  if (initrd === undefined) throw new Error('fake: without an initrd the guest has no init');
  if (args === undefined) throw new Error('fake: without boot_args the kernel gets `nomodule`, and finds no device');
  if (/(^|\s)nomodule(\s|$)/.test(args))
    throw new Error('fake: with `nomodule` in boot_args the guest finds no device');
  if (configuration.machine.mem_size_mib < MIN_MEMORY_MIB) {
    throw new Error(
      `fake: mem_size_mib is ${configuration.machine.mem_size_mib}; at least ${MIN_MEMORY_MIB} are needed`,
    );
  }
  return args;
}

function guestSurroundings(machine: Machine): GuestSurroundings {
  const { environment, journal, exit, print } = machine.surroundings;
  return {
    home: environment.home,
    appImage: () => machine.configuration.image(1),
    onInvoke: (number) => {
      checkMemory(machine);
      journal.write('invoke', { number });
    },
    onRuntimeExited: (ended) => journal.write('runtime-exited', { ...ended }),
    onConsole: (line) => {
      if (CONSOLE_ARGUMENT.test(machine.configuration.bootSource?.boot_args ?? '')) print(line);
    },
    onReset: () => exit(0, 'the guest reset the machine'),
  };
}
