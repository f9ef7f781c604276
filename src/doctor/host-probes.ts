/**
 * Runs in `snapctr doctor`. The results that `--vmm auto` goes by, each found out once for all checks that ask. Probes are
 * always run again; what they find is kept for the next start.
 */
import { searchFirecracker, type FirecrackerSearch } from '../firerunner/firecracker/probe.ts';
import { ProbeCache } from '../firerunner/probes/cache.ts';
import { kvmDevice } from '../firerunner/probes/kvm-device.ts';
import { rankVmms, type Candidate, type Ranking } from '../firerunner/probes/ranking.ts';
import type { ProbeGuest, ProbeResult, VmmProbe } from '../firerunner/probes/result.ts';
import { findQemu, probeEmulation, probeKvm } from '../firerunner/qemu/probe.ts';
import type { RunDirectory } from '../firerunner/run-directory.ts';
import type { VmmOnHost } from '../firerunner/vmm.ts';
import { candidatesOn } from '../firerunner/vmms.ts';
import type { VmmSettings } from '../protocol/vmm-settings.ts';
import type { VmmName } from '../protocol/vmms.ts';

export class HostProbes {
  readonly #settings: VmmSettings;
  readonly #guest: ProbeGuest | null;
  readonly #cache = new ProbeCache('renew');
  readonly #vmms: readonly (Candidate & VmmOnHost)[];
  readonly #found = new Map<string, Promise<unknown>>();

  constructor(settings: VmmSettings, guest: ProbeGuest | null, directory: RunDirectory | null) {
    this.#settings = settings;
    this.#guest = guest;
    this.#vmms = candidatesOn({
      settings,
      accelerator: 'auto',
      guest,
      probes: this.#cache,
      directory: directory?.path ?? null,
      say: () => undefined,
    });
  }

  kvmDevice(): ProbeResult {
    return kvmDevice();
  }

  qemu(): ProbeResult {
    return findQemu();
  }

  /** Whether a guest runs under QEMU with KVM. */
  kvm(): Promise<ProbeResult> {
    return this.#once('kvm', () => probeKvm(this.#guest, this.#cache));
  }

  /** Whether a guest runs under QEMU without KVM. */
  emulation(): Promise<ProbeResult> {
    return this.#once('emulation', () => probeEmulation(this.#guest));
  }

  /** What is installed of Firecracker. */
  firecrackerSearch(): Promise<FirecrackerSearch> {
    return this.#once('search', () => searchFirecracker(this.#settings));
  }

  /** Whether a guest runs under it; with Firecracker in a jail, if that is asked for. */
  probe(name: VmmName): Promise<VmmProbe> {
    return this.#once(`probe ${name}`, () => this.#vmm(name).probe());
  }

  /** Its programs, and whether they can be used. */
  find(name: VmmName): Promise<ProbeResult> {
    return this.#once(`find ${name}`, () => this.#vmm(name).find());
  }

  /** What `--vmm auto` would take. */
  ranking(): Promise<Ranking<Candidate>> {
    const candidates = this.#vmms.map((vmm) => ({ ...vmm, probe: () => this.probe(vmm.name) }));
    return this.#once('ranking', () => rankVmms(candidates, this.#settings.jailer !== null));
  }

  /** Gives up what probes have opened. */
  async close(): Promise<void> {
    for (const vmm of this.#vmms) await vmm.close();
  }

  #vmm(name: VmmName): VmmOnHost {
    const vmm = this.#vmms.find((one) => one.name === name);
    if (vmm === undefined) throw new Error(`${name} proves nothing`);
    return vmm;
  }

  #once<T>(name: string, findOut: () => Promise<T>): Promise<T> {
    const found = (this.#found.get(name) as Promise<T> | undefined) ?? findOut();
    this.#found.set(name, found);
    return found;
  }
}
