/**
 * Rules of Firecracker's API that its description tells in prose, or not at all, by operation. Runs where
 * `description.ts` does.
 */
import { minorOf } from './environment.ts';

type Body = Readonly<Record<string, unknown>>;

/** Members that came late, and the minor version of Firecracker that brought them. */
const SINCE_MINOR: Readonly<Record<string, number>> = { network_overrides: 12, vsock_override: 16, clock_realtime: 16 };

export function isTooNew(member: string, version: string): boolean {
  return minorOf(version) < (SINCE_MINOR[member] ?? 0);
}

/** @param body of the right shape. Returns what is wrong with it all the same. */
export function checkProse(operationId: string, body: Body, version: string): string[] {
  switch (operationId) {
    case 'loadSnapshot':
      return checkLoad(body);
    case 'putGuestDriveByID':
      return checkDrive(body);
    case 'putGuestVsock':
      return Number(body['guest_cid']) > 0xffff_fffe ? ['body.guest_cid: does not fit into 32 bits'] : [];
    case 'putMachineConfiguration':
    case 'patchMachineConfiguration':
      return checkMachine(body);
    case 'createSnapshot':
      return minorOf(version) < 12 ? ['the fake has no snapshots of versions before 1.12'] : [];
    default:
      return [];
  }
}

function checkLoad(body: Body): string[] {
  const isBackend = 'mem_backend' in body;
  if (isBackend === 'mem_file_path' in body) {
    return [
      isBackend
        ? 'too many fields: either `mem_backend` or `mem_file_path` exclusively is required.'
        : 'missing field: either `mem_backend` or `mem_file_path` is required.',
    ];
  }
  return [];
}

function checkDrive(body: Body): string[] {
  const problems: string[] = [];
  if ('socket' in body) problems.push('the fake has no vhost-user-block drives');
  for (const name of ['path_on_host', 'is_read_only']) {
    if (!(name in body)) problems.push(`body: missing field \`${name}\`: needed for a virtio-block drive`);
  }
  return problems;
}

function checkMachine(body: Body): string[] {
  const problems: string[] = [];
  const vcpus = body['vcpu_count'];
  const memoryMib = body['mem_size_mib'];
  if (body['smt'] === true && typeof vcpus === 'number' && vcpus > 1 && vcpus % 2 === 1) {
    problems.push(`body.vcpu_count: ${vcpus} is odd, which SMT does not allow`);
  }
  if (memoryMib === 0) problems.push('body.mem_size_mib: the memory size (MiB) is invalid');
  if (body['huge_pages'] === '2M') problems.push('the fake has no huge pages');
  return problems;
}
