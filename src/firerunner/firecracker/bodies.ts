/**
 * Runs in firerunner. What is sent to Firecracker's API for a machine, in order. Names and required fields are those of
 * Firecracker's own description of its API (`firecracker.yaml`), which a test compares.
 *
 * All paths are relative to the directory in which the VMM runs: like that a snapshot made in one directory, or jail,
 * loads in another.
 */
import type { MachineSpec } from '../../protocol/runner.ts';
import type { NetworkAttachment } from '../machine.ts';

export interface ApiRequest {
  readonly method: 'PUT' | 'PATCH';
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
}

/** Names of files in a VMM's directory. */
export const VMM_FILES = {
  apiSocket: 'api.sock',
  vsock: 'v.sock',
  kernel: 'vmlinux',
  initrd: 'initrd.cpio',
  rootfs: 'rootfs.ext4',
  appfs: 'app.ext4',
  /** Of the snapshot that is loaded. */
  state: 'state',
  memory: 'memory',
  /** Of the snapshot that is made. */
  newState: 'state.new',
  newMemory: 'memory.new',
} as const;

/** Equal in all VMs: each has a socket of its own on the host. */
const GUEST_CID = 3;
const NETWORK_INTERFACE = 'eth0';

/**
 * No serial port: the guest could fill our pipes through it. `reboot=k panic=1` turns the end of a guest, and a panic, into
 * the end of the VMM. Never left out: Firecracker's default holds `nomodule`, with which no modular kernel finds its disks.
 */
const KERNEL_ARGS =
  'quiet reboot=k panic=1 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd swiotlb=noforce random.trust_cpu=on';
/** For a guest that only says on its console that it runs. */
const PROBE_KERNEL_ARGS = 'console=ttyS0 quiet reboot=k panic=1 snapfaas.probe';

/** A machine that starts from its kernel. */
export function bootRequests(spec: MachineSpec, network: NetworkAttachment | null): readonly ApiRequest[] {
  const kernelArgs = spec.kernelArgs === '' ? KERNEL_ARGS : `${KERNEL_ARGS} ${spec.kernelArgs}`;
  return [
    machineConfig(spec.vcpus, spec.memoryMib),
    bootSource(kernelArgs),
    drive('rootfs', VMM_FILES.rootfs),
    ...(spec.appfsPath === null ? [] : [drive('appfs', VMM_FILES.appfs)]),
    ...(network === null ? [] : [networkInterface(network)]),
    put('/vsock', { guest_cid: GUEST_CID, uds_path: VMM_FILES.vsock }),
    put('/entropy', {}),
    put('/actions', { action_type: 'InstanceStart' }),
  ];
}

/** A guest that says so if it runs at all, and ends; see `snapfaas.probe` in guest/init. */
export function probeRequests(memoryMib: number): readonly ApiRequest[] {
  return [
    machineConfig(1, memoryMib),
    bootSource(PROBE_KERNEL_ARGS),
    put('/actions', { action_type: 'InstanceStart' }),
  ];
}

/**
 * A machine that goes on where a snapshot left it, and runs at once. Its clock is set by SYNC: `clock_realtime` would fail
 * each load on hosts whose KVM keeps no wall clock (kernels before 5.16, no TSC master clock).
 *
 * @param tracksDirtyPages for a machine that a diff snapshot will be taken of; it costs run time.
 */
export function loadRequest(network: NetworkAttachment | null, tracksDirtyPages: boolean): ApiRequest {
  return put('/snapshot/load', {
    snapshot_path: VMM_FILES.state,
    mem_backend: { backend_type: 'File', backend_path: VMM_FILES.memory },
    resume_vm: true,
    track_dirty_pages: tracksDirtyPages,
    ...(network === null
      ? {}
      : { network_overrides: [{ iface_id: NETWORK_INTERFACE, host_dev_name: network.tapName }] }),
  });
}

/**
 * Stops a machine and writes its snapshot.
 *
 * @param kind `Full`: all of the memory. `Diff`: what has changed since the load, onto the memory that was loaded, of which
 * a copy must lie at `newMemory`.
 */
export function snapshotRequests(kind: 'Full' | 'Diff'): readonly ApiRequest[] {
  return [
    { method: 'PATCH', path: '/vm', body: { state: 'Paused' } },
    put('/snapshot/create', {
      snapshot_type: kind,
      snapshot_path: VMM_FILES.newState,
      mem_file_path: VMM_FILES.newMemory,
    }),
  ];
}

function machineConfig(vcpus: number, memoryMib: number): ApiRequest {
  return put('/machine-config', { vcpu_count: vcpus, mem_size_mib: memoryMib, smt: false, track_dirty_pages: false });
}

function bootSource(kernelArgs: string): ApiRequest {
  return put('/boot-source', {
    kernel_image_path: VMM_FILES.kernel,
    initrd_path: VMM_FILES.initrd,
    boot_args: kernelArgs,
  });
}

/** Never the root device: the initial RAM disk mounts it. */
function drive(id: string, path: string): ApiRequest {
  return put(`/drives/${id}`, {
    drive_id: id,
    path_on_host: path,
    is_root_device: false,
    is_read_only: true,
    cache_type: 'Unsafe',
    io_engine: 'Sync',
  });
}

function networkInterface({ tapName, mac }: NetworkAttachment): ApiRequest {
  return put(`/network-interfaces/${NETWORK_INTERFACE}`, {
    iface_id: NETWORK_INTERFACE,
    guest_mac: mac,
    host_dev_name: tapName,
  });
}

function put(path: string, body: ApiRequest['body']): ApiRequest {
  return { method: 'PUT', path, body };
}
