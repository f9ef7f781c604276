/** Runs in firerunner. From the settings of a host to its Firecracker driver. */
import type { JailerSettings, VmmSettings } from '../../protocol/vmm-settings.ts';
import { HostError, type Driver } from '../machine.ts';
import { firecrackerDriver } from './driver.ts';
import { UnjailedDirectories, type VmmDirectories } from './vmm-directory.ts';
import { findFirecracker, type FirecrackerInstallation } from './installation.ts';
import { Jails } from './jail.ts';

/**
 * The directories of a configuration, opened when the first is needed: by the probe of a guest, or by the driver. One process
 * opens its jails once: when they are closed, their janitor removes whatever has the name of this process.
 */
export class DirectoriesOnDemand {
  readonly #jailer: JailerSettings | null;
  readonly #directory: string | null;
  readonly #say: (text: string) => void;
  #directories: Promise<VmmDirectories> | null = null;

  /**
   * @param directory firerunner's run directory; null: there is none, and so nowhere for directories without a jail.
   * @param say tells the user what is odd, such as files that are copied instead of linked.
   */
  constructor(jailer: JailerSettings | null, directory: string | null, say: (text: string) => void) {
    this.#jailer = jailer;
    this.#directory = directory;
    this.#say = say;
  }

  /** @throws HostError that says what is needed. */
  open(installation: FirecrackerInstallation): Promise<VmmDirectories> {
    return (this.#directories ??= this.#make(installation));
  }

  /** Closes what was opened. */
  async close(): Promise<void> {
    const directories = await this.#directories?.catch(() => null);
    await directories?.close();
  }

  async #make(installation: FirecrackerInstallation): Promise<VmmDirectories> {
    const { jailerPath } = installation;
    if (this.#jailer !== null && jailerPath !== null) {
      const options = { settings: this.#jailer, installation: { ...installation, jailerPath }, say: this.#say };
      return Jails.open(options);
    }
    if (this.#directory === null) throw new HostError('there is no directory for a VM; mend the run directory');
    return new UnjailedDirectories(installation, this.#directory);
  }
}

/**
 * @param directories those of a probe, if there was one; closed with the driver.
 * @param say tells the user what is odd.
 * @throws LaunchError with the remedy if Firecracker, or what a jail needs, is not there.
 */
export async function openFirecracker(
  { firecracker, jailer }: VmmSettings,
  directories: DirectoriesOnDemand,
  say: (text: string) => void,
): Promise<Driver> {
  const installation = await findFirecracker(firecracker, jailer);
  return firecrackerDriver({
    installation,
    directories: await directories.open(installation),
    prestarted: firecracker?.prestarted ?? 0,
    say,
  });
}
