/** Runs in firerunner. From the settings of a host to its Firecracker driver. */
import type { VmmSettings } from '../../protocol/runner.ts';
import type { Driver } from '../drivers/driver.ts';
import { firecrackerDriver } from '../drivers/firecracker.ts';
import { OpenHomes } from './home.ts';
import { findFirecracker } from './installation.ts';
import { Jails } from './jail.ts';

/**
 * @param directory firerunner's run directory.
 * @param say tells the user what is odd, such as files that are copied instead of linked.
 * @throws LaunchError with the remedy if Firecracker, or what a jail needs, is not there.
 */
export async function openFirecracker(
  { firecracker, jailer }: VmmSettings,
  directory: string,
  say: (text: string) => void,
): Promise<Driver> {
  const installation = await findFirecracker(firecracker, jailer);
  const { jailerPath } = installation;
  const homes =
    jailer === null || jailerPath === null
      ? new OpenHomes(installation, directory)
      : await Jails.open({ settings: jailer, installation: { ...installation, jailerPath }, onCopy: say });
  return firecrackerDriver({ installation, homes, prestarted: firecracker?.prestarted ?? 0 });
}
