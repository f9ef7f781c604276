/** Runs in firerunner and in `snapctr doctor`. Whether Firecracker is installed as it must be, and really runs a guest here. */
import { symlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { VmmSettings } from '../../protocol/runner.ts';
import { FirecrackerApi } from '../firecracker/api.ts';
import { HOME_FILES, probeRequests } from '../firecracker/bodies.ts';
import { describeExit } from '../firecracker/exit-status.ts';
import { findFirecracker, type FirecrackerInstallation } from '../firecracker/installation.ts';
import { UnusableProgramError } from '../programs/program-version.ts';
import type { RunDirectory } from '../run-directory.ts';
import { startVmmProcess, type VmmProcess } from '../programs/vmm-process.ts';
import type { VerdictCache } from './cache.ts';
import { BROKEN_KVM_REMEDY, kvmDevice } from './kvm.ts';
import { PROBE_LIMIT_MS, probeGuest } from './probe.ts';
import { missingGuest, unusable, usable, type ProbeGuest, type Verdict } from './verdict.ts';

const PROBE_MEMORY_MIB = 128;
/** Of the machine, and of its directory. */
const PROBE_ID = 'probe';

export type FirecrackerSearch =
  | { readonly installation: FirecrackerInstallation; readonly verdict: null }
  | { readonly installation: null; readonly verdict: Verdict };

/** What is installed, or the verdict that it is of no use. */
export async function searchFirecracker(settings: VmmSettings): Promise<FirecrackerSearch> {
  try {
    const installation = await findFirecracker(settings.firecracker, settings.jailer);
    return { installation, verdict: null };
  } catch (error) {
    if (!(error instanceof UnusableProgramError)) throw error;
    return { installation: null, verdict: unusable(error.finding, error.remedy) };
  }
}

/**
 * Whether a guest runs under Firecracker with these settings. It is probed without the jailer, once for each boot of the host.
 *
 * @param directory where the probe has its socket; null: nowhere, so that nothing can be proved.
 */
export async function firecrackerVerdict(
  settings: VmmSettings,
  guest: ProbeGuest | null,
  directory: RunDirectory | null,
  cache: VerdictCache,
): Promise<Verdict> {
  const { installation, verdict } = await searchFirecracker(settings);
  if (installation === null) return verdict;
  if (settings.jailer !== null && process.getuid?.() !== 0) {
    return unusable('the jailer needs root', 'run snapctr as root, or leave out `jailer`');
  }
  const device = kvmDevice();
  if (!device.usable) return device;
  const missing = missingGuest(guest);
  if (missing !== null) return missing;
  if (guest === null || directory === null) {
    return unusable('there is no directory to prove it in', 'mend the run directory');
  }
  const path = resolve(installation.path);
  return cache.find('firecracker', [guest.kernelPath, guest.initrdPath, path], async () => {
    const why = await bootUnder(path, guest, directory);
    return why === null
      ? usable(`Firecracker ${installation.version} ran a guest`)
      : unusable(
          `a guest under Firecracker ${installation.version} ${why}`,
          `mend what it names; if that is KVM, ${BROKEN_KVM_REMEDY}`,
        );
  });
}

async function bootUnder(path: string, guest: ProbeGuest, directory: RunDirectory): Promise<string | null> {
  const home = directory.create(PROBE_ID);
  try {
    symlinkSync(guest.kernelPath, join(home, HOME_FILES.kernel));
    symlinkSync(guest.initrdPath, join(home, HOME_FILES.initrd));
    const start = async (): Promise<VmmProcess> => {
      const vmm = await startVmmProcess(path, ['--api-sock', HOME_FILES.apiSocket, '--id', PROBE_ID], {
        stdio: ['ignore', 'pipe', 'pipe'],
        cwd: home,
      });
      return { ...vmm, exited: vmm.exited.then((exit) => ({ ...exit, reason: describeExit(exit) })) };
    };
    const api = new FirecrackerApi(join(home, HOME_FILES.apiSocket));
    try {
      return await probeGuest(start, PROBE_LIMIT_MS, async (signal) => {
        await api.untilUp(signal);
        for (const request of probeRequests(PROBE_MEMORY_MIB)) await api.send(request, signal);
      });
    } finally {
      api.close();
    }
  } finally {
    directory.remove(PROBE_ID);
  }
}
