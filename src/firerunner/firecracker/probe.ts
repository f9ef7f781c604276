/** Runs in firerunner and in `snapctr doctor`. Whether Firecracker is installed as it must be, and really runs a guest here. */
import type { StdioOptions } from 'node:child_process';
import { resolve } from 'node:path';
import type { JailerSettings, VmmSettings } from '../../protocol/vmm-settings.ts';
import { SMALLEST_VM_MIB } from '../../protocol/vmms.ts';
import { LaunchError } from '../machine.ts';
import { FirecrackerApi } from './api.ts';
import { VMM_FILES, probeRequests } from './bodies.ts';
import { describeExit } from './exit-status.ts';
import { apiOf, type VmmDirectory, type VmmDirectories } from './vmm-directory.ts';
import { findFirecracker, type FirecrackerInstallation } from './installation.ts';
import type { DirectoriesOnDemand } from './open.ts';
import { UnusableProgramError } from '../programs/program-version.ts';
import { startVmmProcess, type VmmProcess } from '../programs/vmm-process.ts';
import type { ProbeOutcome, ProbeKey, ProbeCache } from '../probes/cache.ts';
import { jailPlaceFault, mountOf } from './jail-place.ts';
import { BROKEN_KVM_REMEDY, kvmDevice } from '../probes/kvm-device.ts';
import { keepOf, PROBE_LIMIT_MS, probeGuest, remedyOf, type ProbeFailure } from '../probes/guest.ts';
import { missingGuest, unusable, usable, type ProbeGuest, type ProbeResult } from '../probes/result.ts';

export type FirecrackerSearch =
  | { readonly installation: FirecrackerInstallation; readonly result: null }
  | { readonly installation: null; readonly result: ProbeResult };

/** What is installed, or the result that it is of no use. */
export async function searchFirecracker(settings: VmmSettings): Promise<FirecrackerSearch> {
  try {
    const installation = await findFirecracker(settings.firecracker, settings.jailer);
    return { installation, result: null };
  } catch (error) {
    if (!(error instanceof UnusableProgramError)) throw error;
    return { installation: null, result: unusable(error.finding, error.remedy) };
  }
}

/**
 * Whether a guest runs under Firecracker with these settings: in a jail made as for a VM if they ask for jails.
 *
 * @param directories where the guest runs, opened if it has to be tried; the caller closes them.
 */
export async function probeFirecracker(
  settings: VmmSettings,
  guest: ProbeGuest | null,
  directories: DirectoriesOnDemand,
  cache: ProbeCache,
): Promise<ProbeResult> {
  const { installation, result } = await searchFirecracker(settings);
  if (installation === null) return result;
  const { jailer } = settings;
  const uid = process.getuid?.();
  if (jailer !== null && uid !== 0) {
    return unusable(
      `jails were not tried: the jailer needs root, and this is user ${uid ?? 'unknown'}`,
      'run this as root, as snapctr must be then, or leave out `jailer`',
    );
  }
  const device = kvmDevice();
  if (!device.usable) return device;
  const missing = missingGuest(guest);
  if (missing !== null || guest === null) return missing ?? device;
  const misplaced = jailer === null ? null : jailPlaceFault(jailer.chrootBase);
  if (misplaced !== null) return misplaced;
  return cache.find('firecracker', keyOf(installation, jailer, guest), async () => {
    const failure = await tryGuest(installation, jailer, guest, directories);
    if (failure === null) {
      return { result: usable(`Firecracker ${installation.version} ran a guest${inJail(jailer)}`), keep: 'boot' };
    }
    // Whoever mends a jail changes things that no key can hold, such as room on a file system; and a start without it ends.
    return { result: failure.result, keep: jailer === null ? failure.keep : 'never' };
  });
}

function keyOf(
  { path, jailerPath }: FirecrackerInstallation,
  jailer: JailerSettings | null,
  { kernelPath, initrdPath }: ProbeGuest,
): ProbeKey {
  const files = [kernelPath, initrdPath, resolve(path)];
  if (jailer === null || jailerPath === null) return { files };
  const mount = mountOf(jailer.chrootBase)?.identity ?? '';
  return { files: [...files, resolve(jailerPath)], facts: [JSON.stringify(jailer), mount] };
}

/** @returns null if it ran. */
async function tryGuest(
  installation: FirecrackerInstallation,
  jailer: JailerSettings | null,
  guest: ProbeGuest,
  directories: DirectoriesOnDemand,
): Promise<ProbeOutcome | null> {
  let failure: ProbeFailure | null;
  try {
    failure = await bootIn(await directories.open(installation), guest);
  } catch (error) {
    if (!(error instanceof LaunchError) && !isSystemError(error)) throw error;
    return { result: directoryFault(error, jailer), keep: 'never' };
  }
  if (failure === null) return null;
  const finding = `a guest${inJail(jailer)} under Firecracker ${installation.version} ${failure.why}`;
  const mend = `mend what it names; if that is KVM, ${BROKEN_KVM_REMEDY}`;
  const remedy = remedyOf(failure, jailRemedy(failure.why, jailer) ?? mend);
  return { result: unusable(finding, remedy), keep: keepOf(failure) };
}

/** Errors of directories end with what to do, after a semicolon; those of the file system do not. */
function directoryFault(error: Error, jailer: JailerSettings | null): ProbeResult {
  const message = error instanceof LaunchError ? error.message : `files cannot be linked for a guest: ${error.message}`;
  const [, finding = message, remedy] = /^(.*); (.*)$/s.exec(message) ?? [];
  return unusable(finding, remedy ?? jailRemedy(message, jailer) ?? 'mend what it names');
}

/** @returns null if nothing is known to help. */
function jailRemedy(message: string, jailer: JailerSettings | null): string | null {
  if (jailer === null) return null;
  if (/ENOSPC|EDQUOT|no space left|quota exceeded|is full/i.test(message)) {
    return `make room in ${jailer.chrootBase}, or name a larger file system with \`chroot_base\``;
  }
  return /cgroup/i.test(message) ? 'mend the limits in `jailer: {cgroup: …}`, or leave them out' : null;
}

function inJail(jailer: JailerSettings | null): string {
  return jailer === null ? '' : ' in a jail';
}

function isSystemError(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && typeof error.code === 'string';
}

async function bootIn(directories: VmmDirectories, guest: ProbeGuest): Promise<ProbeFailure | null> {
  const directory = await directories.make();
  try {
    await directory.link(VMM_FILES.kernel, guest.kernelPath);
    await directory.link(VMM_FILES.initrd, guest.initrdPath);
    const api = new FirecrackerApi(apiOf(directory));
    let isUp = false;
    try {
      return await probeGuest(
        () => startIn(directory, () => isUp),
        PROBE_LIMIT_MS,
        async (signal) => {
          await api.untilUp(signal);
          isUp = true;
          for (const request of probeRequests(SMALLEST_VM_MIB)) await api.send(request, signal);
        },
      );
    } finally {
      api.close();
    }
  } finally {
    await directory.remove();
  }
}

async function startIn(directory: VmmDirectory, isUp: () => boolean): Promise<VmmProcess> {
  const [program, ...args] = directory.command;
  const options = { stdio: ['ignore', 'pipe', 'pipe'] satisfies StdioOptions, cwd: directory.path };
  const vmm = await startVmmProcess(program, args, options, () => directory.programName(isUp()));
  if (vmm.child.pid !== undefined) directory.onStarted(vmm.child.pid);
  return { ...vmm, exited: vmm.exited.then((exit) => ({ ...exit, reason: describeExit(exit) })) };
}
