/**
 * Runs in firerunner and in `snapctr doctor`. What each VMM's folder offers: whether it works on a host, and its driver.
 * `vmms.ts` has them all; `protocol/vmms.ts` has what can be known of one without its code.
 */
import type { QemuAccelerator } from '../protocol/runner.ts';
import type { VmmSettings } from '../protocol/vmm-settings.ts';
import type { Driver } from './machine.ts';
import type { ProbeCache } from './probes/cache.ts';
import type { ProbeGuest, ProbeResult, VmmProbe } from './probes/result.ts';

export interface Vmm {
  /** As it is called in sentences. */
  readonly title: string;
  /** Nothing is opened or started by this. */
  on(host: VmmHost): VmmOnHost;
}

/** What VMs are to run on, and what is known of it. */
export interface VmmHost {
  readonly settings: VmmSettings;
  /** How QEMU is to run guests; `auto`: as it was proved to. */
  readonly accelerator: 'auto' | QemuAccelerator;
  /** What probes boot; null: nothing can be proved. */
  readonly guest: ProbeGuest | null;
  readonly probes: ProbeCache;
  /** firerunner's run directory; null: there is none, and so nowhere for VMs without a jail. */
  readonly directory: string | null;
  /** Tells the user what is odd, such as files that are copied instead of linked. */
  readonly say: (text: string) => void;
}

export interface VmmOnHost {
  /** Whether its programs are there and can be used; no guest is run. */
  find(): Promise<ProbeResult>;
  /** Whether it can be had where a user asks for it by name: that is not proved. */
  check(): Promise<VmmProbe>;
  /** Whether a guest was seen to run under it here. */
  probe(): Promise<VmmProbe>;
  /**
   * @param accelerator as `check` or `probe` has it.
   * @throws LaunchError with the remedy if something that it needs is not there.
   */
  open(accelerator: QemuAccelerator | null): Promise<Driver>;
  /** Gives up what a probe has opened, if no driver was opened after it. */
  close(): Promise<void>;
}

/** A user asked for it: nothing has to be proved. */
export const ASKED_FOR: VmmProbe = { usable: true, finding: 'asked for', remedy: null, accelerator: null };
