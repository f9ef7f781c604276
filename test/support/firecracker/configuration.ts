/**
 * Runs in the fake Firecracker. What is set before the start: files are opened when they are named, and stay open, so
 * that a later change of a path does not matter. Members are named as in the API.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { JailPaths } from './jail-paths.ts';
import { openTap } from './tap-locks.ts';

const ELF_MAGIC = Buffer.from('\x7fELF', 'latin1');

export interface MachineConfig {
  readonly vcpu_count: number;
  readonly mem_size_mib: number;
  readonly smt: boolean;
  readonly track_dirty_pages: boolean;
}

export interface BootSource {
  readonly kernel_image_path: string;
  readonly initrd_path?: string;
  readonly boot_args?: string;
}

export interface Drive {
  readonly drive_id: string;
  readonly path_on_host: string;
  readonly is_root_device: boolean;
  readonly is_read_only: boolean;
}

export interface NetworkInterface {
  readonly iface_id: string;
  readonly host_dev_name: string;
  readonly guest_mac?: string;
}

export interface Vsock {
  readonly guest_cid: number;
  readonly uds_path: string;
}

const DEFAULT_MACHINE: MachineConfig = { vcpu_count: 1, mem_size_mib: 128, smt: false, track_dirty_pages: false };
const MAC = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i;

export class Configuration {
  machine: MachineConfig = DEFAULT_MACHINE;
  bootSource: BootSource | null = null;
  vsock: Vsock | null = null;
  readonly #paths: JailPaths;
  readonly #tapLocks: string;
  readonly #drives = new Map<string, { readonly drive: Drive; readonly fd: number }>();
  readonly #networkInterfaces = new Map<string, NetworkInterface>();

  constructor(paths: JailPaths, tapLocks: string) {
    this.#paths = paths;
    this.#tapLocks = tapLocks;
  }

  /** In the guest's order: the root device first, then as they came. */
  get drives(): readonly Drive[] {
    const drives = [...this.#drives.values()].map(({ drive }) => drive);
    return [...drives.filter((one) => one.is_root_device), ...drives.filter((one) => !one.is_root_device)];
  }

  get networkInterfaces(): readonly NetworkInterface[] {
    return [...this.#networkInterfaces.values()];
  }

  /** A path to the open file of the guest's disk with this index; null: there is none. */
  image(index: number): string | null {
    const id = this.drives[index]?.drive_id;
    const entry = id === undefined ? undefined : this.#drives.get(id);
    return entry === undefined ? null : `/proc/${process.pid}/fd/${entry.fd}`;
  }

  setMachine(body: Partial<MachineConfig>, base: MachineConfig = DEFAULT_MACHINE): void {
    const { vcpu_count, mem_size_mib, smt, track_dirty_pages } = { ...base, ...body };
    this.machine = { vcpu_count, mem_size_mib, smt, track_dirty_pages };
  }

  /** @throws Error if a file cannot be opened, or the kernel is of a form that Firecracker does not boot. */
  setBootSource(body: BootSource): void {
    const kernel = openSync(this.#paths.resolve(body.kernel_image_path), 'r');
    const magic = Buffer.alloc(ELF_MAGIC.length);
    readSync(kernel, magic, 0, magic.length, 0);
    closeSync(kernel);
    if (!magic.equals(ELF_MAGIC)) throw new Error(`${body.kernel_image_path} is no uncompressed ELF kernel`);
    if (body.initrd_path !== undefined) closeSync(openSync(this.#paths.resolve(body.initrd_path), 'r'));
    this.bootSource = body;
  }

  /** @throws Error if the file cannot be opened or another drive is the root device. */
  setDrive(drive: Drive): void {
    const { drive_id, path_on_host, is_root_device, is_read_only } = drive;
    const root = this.drives.find((one) => one.is_root_device && one.drive_id !== drive_id);
    if (is_root_device && root !== undefined) throw new Error(`a root block device already exists: ${root.drive_id}`);
    const fd = openSync(this.#paths.resolve(path_on_host), is_read_only ? 'r' : 'r+');
    if (!fstatSync(fd).isFile()) throw new Error(`${path_on_host} is no file`);
    const previous = this.#drives.get(drive_id);
    if (previous !== undefined) closeSync(previous.fd);
    this.#drives.set(drive_id, { drive: { drive_id, path_on_host, is_root_device, is_read_only }, fd });
  }

  /** @throws Error if the host's device cannot be had. */
  setNetworkInterface({ iface_id, host_dev_name, guest_mac }: NetworkInterface): void {
    if (guest_mac !== undefined && !MAC.test(guest_mac)) throw new Error(`guest_mac ${guest_mac} is no MAC address`);
    const others = this.networkInterfaces.filter((one) => one.iface_id !== iface_id);
    if (others.some((one) => guest_mac !== undefined && one.guest_mac === guest_mac)) {
      throw new Error(`The MAC address is already in use: ${guest_mac}`);
    }
    if (this.#networkInterfaces.get(iface_id)?.host_dev_name !== host_dev_name) openTap(host_dev_name, this.#tapLocks);
    this.#networkInterfaces.set(iface_id, {
      iface_id,
      host_dev_name,
      ...(guest_mac === undefined ? {} : { guest_mac }),
    });
  }

  /** As `GET /vm/config` answers. */
  export(): unknown {
    return {
      ...(this.bootSource === null ? {} : { 'boot-source': this.bootSource }),
      'machine-config': this.machine,
      drives: this.drives,
      'network-interfaces': this.networkInterfaces,
      ...(this.vsock === null ? {} : { vsock: this.vsock }),
    };
  }
}
