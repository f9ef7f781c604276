/** Runs in firerunner. Which VMM to use: what was asked for, or the best of what was proved to work. */
import type { QemuAccelerator, VmmName, VmmSettings } from '../protocol/runner.ts';
import { LaunchError, type Driver } from './machine.ts';
import { processDriver } from './process/driver.ts';
import { qemuDriver } from './qemu/driver.ts';
import { DirectoriesOnDemand, openFirecracker } from './firecracker/open.ts';
import type { RunDirectory } from './run-directory.ts';
import { VerdictCache } from './probes/cache.ts';
import { firecrackerVerdict } from './firecracker/probe.ts';
import { kvmVerdict } from './probes/kvm.ts';
import { qemuVerdict } from './qemu/probe.ts';
import { chooseAccelerator, rankVmms } from './probes/ranking.ts';
import type { ProbeGuest, Verdict } from './probes/result.ts';

export interface VmmWish {
  readonly vmm: 'auto' | VmmName;
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

/** @throws LaunchError with the remedy if the wish cannot be met. */
export async function chooseVmm(wish: VmmWish): Promise<VmmChoice> {
  const cache = new VerdictCache('reuse');
  const kvm = (): Promise<Verdict> => kvmVerdict(wish.guest, cache);
  const vmm = wish.vmm === 'auto' && wish.accelerator !== 'auto' ? 'qemu' : wish.vmm;
  switch (vmm) {
    case 'process':
      return { driver: processDriver(), reason: 'process: asked for' };
    case 'firecracker': {
      const driver = await openFirecracker(wish.settings, wish.directory.path, wish.say);
      return { driver, reason: 'firecracker: asked for' };
    }
    case 'qemu': {
      const { usable, finding, remedy } = qemuVerdict();
      if (!usable) {
        throw new LaunchError(
          `${finding}; ${remedy ?? 'install it'}, or use --vmm process for functions as plain processes without isolation`,
        );
      }
      const { accelerator, reason } =
        wish.accelerator === 'auto'
          ? await chooseAccelerator(kvm)
          : { accelerator: wish.accelerator, reason: `qemu with ${wish.accelerator}: asked for` };
      return { driver: qemuDriver(accelerator), reason };
    }
    case 'auto': {
      const { settings, guest, directory, say } = wish;
      const directories = new DirectoriesOnDemand(settings.jailer, directory.path, say);
      const ranking = await rankVmms({
        jailed: settings.jailer !== null,
        firecracker: () => firecrackerVerdict(settings, guest, directories, cache),
        kvm,
        qemu: qemuVerdict,
      });
      if (ranking.vmm !== 'firecracker') await directories.close();
      switch (ranking.vmm) {
        case 'firecracker':
          return { driver: await openFirecracker(settings, directory.path, say, directories), reason: ranking.reason };
        case 'qemu':
          return { driver: qemuDriver(ranking.accelerator), reason: ranking.reason };
        case null:
          throw new LaunchError(ranking.reason);
      }
    }
  }
}
