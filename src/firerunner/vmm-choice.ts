/** Runs in firerunner. Which VMM to use: what was asked for, or the best of what was proved to work. */
import type { QemuAccelerator } from '../protocol/runner.ts';
import type { VmmSettings } from '../protocol/vmm-settings.ts';
import type { VmmWish } from '../protocol/vmms.ts';
import { LaunchError, type Driver } from './machine.ts';
import { ProbeCache } from './probes/cache.ts';
import { rankVmms, reasonFor } from './probes/ranking.ts';
import type { ProbeGuest } from './probes/result.ts';
import type { RunDirectory } from './run-directory.ts';
import { candidatesOn, VMM_TABLE } from './vmms.ts';

export interface ChoiceOptions {
  readonly vmm: VmmWish;
  /** Of QEMU; asking for one is asking for QEMU. */
  readonly accelerator: 'auto' | QemuAccelerator;
  readonly settings: VmmSettings;
  /** What probes boot; null: nothing can be proved. */
  readonly guest: ProbeGuest | null;
  readonly directory: RunDirectory;
  /** Tells the user what a driver finds odd. */
  readonly say: (text: string) => void;
}

export interface VmmChoice {
  readonly driver: Driver;
  /** One sentence for the log: what was taken and why. */
  readonly reason: string;
}

/** @throws LaunchError with the remedy if what is asked for cannot be had. */
export async function chooseVmm(options: ChoiceOptions): Promise<VmmChoice> {
  const host = { ...options, directory: options.directory.path, probes: new ProbeCache('reuse') };
  const asked = options.vmm === 'auto' && options.accelerator !== 'auto' ? 'qemu' : options.vmm;
  if (asked !== 'auto') {
    const vmm = VMM_TABLE[asked].on(host);
    const found = await vmm.check();
    if (found.usable) return { driver: await vmm.open(found.accelerator), reason: reasonFor(asked, found) };
    const { finding, remedy } = found;
    throw new LaunchError(
      `${finding}; ${remedy ?? 'install it'}, or use --vmm process for functions as plain processes without isolation`,
    );
  }
  const candidates = candidatesOn(host);
  const { taken, accelerator, reason } = await rankVmms(candidates, options.settings.jailer !== null);
  for (const one of candidates) if (one !== taken) await one.close();
  if (taken === null) throw new LaunchError(reason);
  return { driver: await taken.open(accelerator), reason };
}
