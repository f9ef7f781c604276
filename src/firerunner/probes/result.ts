/** Runs in firerunner and in `snapctr doctor`. What was found out about one way to run VMs. */
import { accessSync, constants } from 'node:fs';
import type { QemuAccelerator } from '../../protocol/runner.ts';

export interface ProbeResult {
  readonly usable: boolean;
  /** What was found, as a clause: "KVM ran a guest". */
  readonly finding: string;
  /** What would make it usable, as a clause; null if it is, or if nothing is known to help. */
  readonly remedy: string | null;
}

export interface VmmProbe extends ProbeResult {
  /** How the VMM would run guests; null for one with one way. */
  readonly accelerator: QemuAccelerator | null;
}

export function usable(finding: string): ProbeResult {
  return { usable: true, finding, remedy: null };
}

export function unusable(finding: string, remedy: string | null): ProbeResult {
  return { usable: false, finding, remedy };
}

/** What probes boot: our kernel, with an initial RAM disk whose init obeys `snapfaas.probe`. Absolute paths. */
export interface ProbeGuest {
  readonly kernelPath: string;
  readonly initrdPath: string;
}

/** Why there is nothing to boot; null if there is a guest. */
export function missingGuest(guest: ProbeGuest | null): ProbeResult | null {
  if (guest === null) return unusable('no guest is at hand to prove it', 'name a kernel');
  for (const path of [guest.kernelPath, guest.initrdPath]) {
    try {
      accessSync(path, constants.R_OK);
    } catch {
      return unusable(
        `no guest is at hand to prove it: ${path} cannot be read`,
        'build it: snapctr images build kernel',
      );
    }
  }
  return null;
}
