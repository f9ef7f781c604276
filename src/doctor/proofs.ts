/**
 * Runs in `snapctr doctor`. The verdicts that `--vmm auto` goes by, each found out once for all checks that ask. Probes are
 * always run again; what they find is kept for the next start.
 */
import { DirectoriesOnDemand } from '../firerunner/firecracker/open.ts';
import type { RunDirectory } from '../firerunner/run-directory.ts';
import { VerdictCache } from '../firerunner/probes/cache.ts';
import { firecrackerVerdict, searchFirecracker, type FirecrackerSearch } from '../firerunner/firecracker/probe.ts';
import { kvmDevice, kvmVerdict } from '../firerunner/probes/kvm.ts';
import { emulationVerdict, qemuVerdict } from '../firerunner/qemu/probe.ts';
import { rankVmms, type Prospects, type Ranking } from '../firerunner/probes/ranking.ts';
import type { ProbeGuest, Verdict } from '../firerunner/probes/result.ts';
import type { VmmSettings } from '../protocol/runner.ts';

export class Proofs implements Prospects {
  readonly #settings: VmmSettings;
  readonly #guest: ProbeGuest | null;
  readonly #directory: RunDirectory | null;
  readonly #cache = new VerdictCache('renew');
  readonly #verdicts = new Map<string, Promise<Verdict>>();
  #search: Promise<FirecrackerSearch> | null = null;
  #ranking: Promise<Ranking> | null = null;

  constructor(settings: VmmSettings, guest: ProbeGuest | null, directory: RunDirectory | null) {
    this.#settings = settings;
    this.#guest = guest;
    this.#directory = directory;
  }

  get jailed(): boolean {
    return this.#settings.jailer !== null;
  }

  kvmDevice(): Verdict {
    return kvmDevice();
  }

  qemu(): Verdict {
    return qemuVerdict();
  }

  /** Whether a guest runs under QEMU with KVM. */
  kvm(): Promise<Verdict> {
    return this.#once('kvm', () => kvmVerdict(this.#guest, this.#cache));
  }

  /** Whether a guest runs under QEMU without KVM. */
  emulation(): Promise<Verdict> {
    return this.#once('emulation', () => emulationVerdict(this.#guest));
  }

  /** Whether a guest runs under Firecracker, jailed if that is asked for. */
  firecracker(): Promise<Verdict> {
    return this.#once('firecracker', async () => {
      const directories = new DirectoriesOnDemand(
        this.#settings.jailer,
        this.#directory?.path ?? null,
        () => undefined,
      );
      try {
        return await firecrackerVerdict(this.#settings, this.#guest, directories, this.#cache);
      } finally {
        await directories.close();
      }
    });
  }

  /** What is installed of Firecracker. */
  firecrackerSearch(): Promise<FirecrackerSearch> {
    return (this.#search ??= searchFirecracker(this.#settings));
  }

  /** What `--vmm auto` would take. */
  ranking(): Promise<Ranking> {
    return (this.#ranking ??= rankVmms(this));
  }

  #once(name: string, findOut: () => Promise<Verdict>): Promise<Verdict> {
    const verdict = this.#verdicts.get(name) ?? findOut();
    this.#verdicts.set(name, verdict);
    return verdict;
  }
}
