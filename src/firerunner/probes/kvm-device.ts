/** Runs in firerunner and in `snapctr doctor`. Whether KVM is there and may be used, which says nothing of whether guests run. */
import { closeSync, constants, openSync, readFileSync, statSync, type Stats } from 'node:fs';
import { userInfo } from 'node:os';
import { unusable, usable, type ProbeResult } from './result.ts';

export const KVM_DEVICE = '/dev/kvm';

/** What helps where the device opens and guests do not run. */
export const BROKEN_KVM_REMEDY =
  'take a host whose KVM runs stock kernels: bare metal, or a VM whose own host offers full nested virtualization';

/** Whether the device opens for reading and writing. Says nothing of whether guests run. */
export function kvmDevice(path = KVM_DEVICE): ProbeResult {
  try {
    closeSync(openSync(path, constants.O_RDWR));
    return usable(`${path} opens`);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    switch (code) {
      case 'ENOENT':
        return unusable(`${path} is not there`, missingDeviceRemedy());
      case 'EACCES':
      case 'EPERM':
        return unusable(`${path} may not be opened by this user (${code})`, remedyForUs(path));
      default:
        return unusable(`${path} cannot be opened (${code})`, missingDeviceRemedy());
    }
  }
}

/** A user as the rights to a file see it. */
export interface DeviceUser {
  readonly name: string;
  readonly uid: number;
  /** Of the process: what was added since the login is missing. */
  readonly gids: readonly number[];
}

/**
 * What gives a user a device that it may not open.
 *
 * @param groups the contents of /etc/group. Source: group(5).
 */
export function rightsRemedy(
  path: string,
  { uid, gid, mode }: Pick<Stats, 'uid' | 'gid' | 'mode'>,
  user: DeviceUser,
  groups: string,
): string {
  const inContainer = `in a container, pass the device (--device ${path})`;
  const isMember = user.gids.includes(gid);
  const needed = user.uid === uid ? 0o600 : isMember ? 0o060 : 0o006;
  // Then not the rights of the file are in the way, but a control group or a namespace.
  if (user.uid === 0 || (mode & needed) === needed) return inContainer;
  const entry = groups.split('\n').find((line) => line.split(':')[2] === String(gid));
  const [group = String(gid), , , members = ''] = entry?.split(':') ?? [];
  if ((mode & 0o060) !== 0o060 || gid === 0 || isMember) {
    const whose = `it is of user ${uid} and group ${group}, mode ${(mode & 0o777).toString(8)}`;
    return `${whose}: as root, chgrp kvm ${path}, chmod 660 ${path} and usermod -aG kvm ${user.name}, then log in again; ${inContainer}`;
  }
  if (members.split(',').includes(user.name)) {
    return `log in again, or start again what runs this: ${user.name} was added to the group ${group} since; ${inContainer}`;
  }
  return `add the user to its group and log in again: usermod -aG ${group} ${user.name}; ${inContainer}`;
}

function remedyForUs(path: string): string {
  const { getuid, getgid, getgroups } = process;
  const gids = [...(getgroups?.() ?? []), getgid?.() ?? 0];
  return rightsRemedy(path, statSync(path), { name: userName(), uid: getuid?.() ?? 0, gids }, readText('/etc/group'));
}

/** Without the processor's flags no module helps: this machine is a VM whose host keeps them to itself, or the firmware does. */
function missingDeviceRemedy(): string {
  const flags = /^flags\s*:(.*)$/m.exec(readText('/proc/cpuinfo'))?.[1]?.split(/\s+/) ?? [];
  if (flags.includes('vmx'))
    return 'load the module: modprobe kvm_intel; in a container, pass the device (--device /dev/kvm)';
  if (flags.includes('svm'))
    return 'load the module: modprobe kvm_amd; in a container, pass the device (--device /dev/kvm)';
  return 'switch virtualization on in the firmware, or, if this machine is a VM, nested virtualization on its host';
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user without an entry in /etc/passwd, as in containers.
    return 'USER';
  }
}
