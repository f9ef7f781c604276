/** Runs in firerunner. QEMU's command line: the machine, and the descriptors and sockets by which firerunner speaks to it. */
import { join } from 'node:path';
import { CONTROL_PORT_NAME, FUNCTION_PORT_NAME } from '../../protocol/guest.ts';
import type { MachineSpec, QemuAccelerator } from '../../protocol/runner.ts';
import type { NetworkAttachment } from '../machine.ts';

export const QEMU_COMMAND = 'qemu-system-x86_64';

/**
 * `quiet` keeps the console short, `reboot=t panic=-1` turns a halt or a kernel panic into a reset, on which QEMU exits
 * (`-no-reboot`). The console stays on: its last lines explain a VM that does not come up. A VM that was stopped for a while
 * is no lockup (`nowatchdog`), and nobody asks in it who waits for what (`psi=0`): both would run in each start.
 */
const KERNEL_ARGS = 'console=ttyS0 quiet reboot=t panic=-1 random.trust_cpu=on nowatchdog psi=0';

/**
 * The processor's ticks are the only clock of an emulated machine that a pause of any length does not stop or turn over: the
 * kernel must not change to another because a busy host let it look at two of them at different times. What guards the kernel
 * from its programs against faults of real processors only makes more code to translate, as do page tables of a fifth level.
 */
const TCG_KERNEL_ARGS = 'tsc=reliable mitigations=off no5lvl';

/**
 * Translation cache of TCG per VM, in MiB. QEMU's own default lets it grow to 1 GiB; with 32 neither a boot nor a warm
 * request was slower than with 128, and a VM takes 50 to 90 MB less of the host.
 */
const TRANSLATION_CACHE_MIB = 32;

/** Deny what QEMU never needs here, should a guest ever break into it. */
const SANDBOX = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny';

/** Descriptors that QEMU inherits; the sockets are pairs, connected from the start. */
export const QMP_FD = 3;
export const CONTROL_FD = 4;
export const STATE_IN_FD = 5;
export const MEMORY_FD = 6;

/** What the memory, the disks and the host's end of the network are called. */
export const MEMORY_OBJECT = 'ram';
export const ROOTFS_DRIVE = 'rootfs';
export const APPFS_DRIVE = 'appfs';
export const NETWORK_END = 'net0';

/** The function channel's socket below a machine's directory. */
export function functionSocket(directory: string): string {
  return join(directory, 'function.sock');
}

/** A comma separates QEMU's options; inside a value it is written twice. */
function quoted(path: string): string {
  return path.replaceAll(',', ',,');
}

/** How a machine comes to life, as far as the command line goes. */
export interface QemuStart {
  readonly accelerator: QemuAccelerator;
  /**
   * `restore`: the device state is loaded from a descriptor, and no kernel is given: it is in the memory. `preconfig`: the same, but
   * memory, disks and tap are not known yet (`generic-vmms.ts`): devices are made when they are.
   */
  readonly from: 'boot' | 'restore' | 'preconfig';
  /** Where the function channel's socket is made. */
  readonly socketPath: string;
  /** A file that is mapped as the guest's memory; null: memory of QEMU's own, or none yet. */
  readonly memory: { readonly path: string; readonly share: boolean } | null;
  readonly network: NetworkAttachment | null;
}

/**
 * The card's features are part of the device state, and the host's end must offer them to every restore: they are named
 * where they would depend on that end. Without a control queue the card takes whatever arrives: its MAC is the guest's
 * own affair, and changes with each restore.
 */
const NETWORK_CARD = [
  ...['ctrl_vq', 'ctrl_rx', 'ctrl_rx_extra', 'ctrl_vlan', 'ctrl_mac_addr', 'ctrl_guest_offloads', 'guest_announce'],
  ...['host_ufo', 'guest_ufo'],
].map((feature) => `${feature}=off`);

/**
 * QEMU's command line. Devices and their order are part of a snapshot: equal for a boot and its restore.
 *
 * @param spec of one that is made `preconfig`, only its size and which disks it has count.
 */
export function qemuArguments(spec: MachineSpec, start: QemuStart): string[] {
  const { accelerator, from, memory, network } = start;
  const disk = (id: string, path: string): string[] => [
    ...(from === 'preconfig' ? [] : ['-drive', `id=${id},file=${quoted(path)},format=raw,if=none,readonly=on`]),
    ...['-device', `virtio-blk-pci,drive=${id}`],
  ];
  const port = (id: string, chardev: string, name: string): string[] => [
    ...['-chardev', `socket,id=${id},${chardev}`],
    ...['-device', `virtserialport,chardev=${id},name=${name}`],
  ];
  const machine = 'q35,vmport=off,smbus=off,sata=off,usb=off';
  return [
    ...['-machine', memory === null ? machine : `${machine},memory-backend=${MEMORY_OBJECT}`],
    ...(memory === null
      ? []
      : [
          '-object',
          `memory-backend-file,id=${MEMORY_OBJECT},size=${spec.memoryMib}M,mem-path=${quoted(memory.path)},` +
            `share=${memory.share ? 'on' : 'off'}`,
        ]),
    ...['-accel', accelerator === 'kvm' ? 'kvm' : `tcg,tb-size=${TRANSLATION_CACHE_MIB}`],
    ...['-cpu', accelerator === 'kvm' ? 'host' : 'max'],
    ...['-smp', String(spec.vcpus)],
    ...['-m', `${spec.memoryMib}M`],
    ...['-nodefaults', '-no-user-config', '-nographic', '-no-reboot'],
    ...['-sandbox', SANDBOX],
    ...(from === 'preconfig' ? ['-preconfig'] : []),
    ...(from !== 'boot'
      ? ['-incoming', 'defer']
      : [
          ...['-kernel', spec.kernelPath, '-initrd', spec.initrdPath],
          ...[
            '-append',
            [KERNEL_ARGS, ...(accelerator === 'tcg' ? [TCG_KERNEL_ARGS] : []), spec.kernelArgs].join(' ').trim(),
          ],
        ]),
    ...['-chardev', `socket,id=qmp,fd=${QMP_FD}`, '-mon', 'chardev=qmp,mode=control'],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...disk(ROOTFS_DRIVE, spec.rootfsPath),
    ...(spec.appfsPath === null ? [] : disk(APPFS_DRIVE, spec.appfsPath)),
    ...['-device', 'virtio-rng-pci'],
    ...['-device', 'virtio-serial-pci'],
    ...port('function', `path=${quoted(start.socketPath)},server=on,wait=off`, FUNCTION_PORT_NAME),
    ...port('control', `fd=${CONTROL_FD}`, CONTROL_PORT_NAME),
    ...(network === null
      ? []
      : [
          ...(from === 'preconfig'
            ? []
            : ['-netdev', `tap,id=${NETWORK_END},ifname=${network.tapName},script=no,downscript=no,vnet_hdr=on`]),
          ...['-device', `virtio-net-pci,netdev=${NETWORK_END},mac=${network.mac},romfile=,${NETWORK_CARD.join(',')}`],
        ]),
  ];
}
