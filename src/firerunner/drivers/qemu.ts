/**
 * Runs in firerunner. QEMU as the VMM: with hardware virtualisation where KVM really runs a guest, else under software
 * emulation (TCG), which needs nothing of the host.
 */
import { join } from 'node:path';
import { CONTROL_PORT_NAME, FUNCTION_PORT_NAME } from '../../protocol/guest.ts';
import type { MachineSpec, QemuAccelerator } from '../../protocol/runner.ts';
import { connectWhenOpen, FrameSocket } from '../frame-socket.ts';
import { OutputTail, startVmmProcess } from '../vmm-process.ts';
import { LaunchError, type Driver, type Machine } from './driver.ts';

export const QEMU_COMMAND = 'qemu-system-x86_64';

/**
 * `quiet` keeps the console short, `reboot=t panic=-1` turns a halt or a kernel panic into a reset, on which QEMU exits
 * (`-no-reboot`). The console stays on: its last lines explain a VM that does not come up.
 */
const KERNEL_ARGS = 'console=ttyS0 quiet reboot=t panic=-1 random.trust_cpu=on';

/**
 * Translation cache of TCG per VM, in MiB. QEMU's own default lets it grow to 1 GiB; with 32 neither a boot nor a warm
 * request was slower than with 128, and a VM takes 50 to 90 MB less of the host.
 */
const TRANSLATION_CACHE_MIB = 32;

/** Deny what QEMU never needs here, should a guest ever break into it. */
const SANDBOX = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny';

/** Paths of a machine's sockets below its directory. */
function sockets(directory: string): { control: string; function: string } {
  return { control: join(directory, 'control.sock'), function: join(directory, 'function.sock') };
}

/** A comma separates QEMU's options; inside a value it is written twice. */
function quoted(path: string): string {
  return path.replaceAll(',', ',,');
}

/** QEMU's command line for a cold boot. */
export function qemuArguments(spec: MachineSpec, directory: string, accelerator: QemuAccelerator): string[] {
  const socket = sockets(directory);
  const disk = (id: string, path: string): string[] => [
    '-drive',
    `id=${id},file=${quoted(path)},format=raw,if=none,readonly=on`,
    '-device',
    `virtio-blk-pci,drive=${id}`,
  ];
  const port = (id: string, path: string, name: string): string[] => [
    '-chardev',
    `socket,id=${id},path=${quoted(path)},server=on,wait=off`,
    '-device',
    `virtserialport,chardev=${id},name=${name}`,
  ];
  return [
    '-machine',
    'q35,vmport=off,smbus=off,sata=off,usb=off',
    '-accel',
    accelerator === 'kvm' ? 'kvm' : `tcg,tb-size=${TRANSLATION_CACHE_MIB}`,
    '-cpu',
    accelerator === 'kvm' ? 'host' : 'max',
    '-smp',
    String(spec.vcpus),
    '-m',
    `${spec.memoryMib}M`,
    '-nodefaults',
    '-no-user-config',
    '-nographic',
    '-no-reboot',
    '-sandbox',
    SANDBOX,
    '-kernel',
    spec.kernelPath,
    '-initrd',
    spec.initrdPath,
    '-append',
    spec.kernelArgs === '' ? KERNEL_ARGS : `${KERNEL_ARGS} ${spec.kernelArgs}`,
    '-chardev',
    'stdio,id=console,signal=off',
    '-serial',
    'chardev:console',
    ...disk('rootfs', spec.rootfsPath),
    ...(spec.appfsPath === null ? [] : disk('appfs', spec.appfsPath)),
    '-device',
    'virtio-rng-pci',
    '-device',
    'virtio-serial-pci',
    ...port('function', socket.function, FUNCTION_PORT_NAME),
    ...port('control', socket.control, CONTROL_PORT_NAME),
  ];
}

export function qemuDriver(accelerator: QemuAccelerator): Driver {
  return {
    name: 'qemu',
    notice: accelerator === 'tcg' ? 'QEMU runs the VMs under software emulation, which is slower than KVM' : null,
    async boot(spec, { directory, onChannel, signal }) {
      const vmm = await startVmmProcess(QEMU_COMMAND, qemuArguments(spec, directory, accelerator), {
        stdio: ['ignore', 'pipe', 'pipe'],
        cwd: '/',
      });
      const tail = new OutputTail();
      tail.watch(vmm.child.stdout);
      tail.watch(vmm.child.stderr);
      // A VMM that ends (a bad option, a missing file) must not leave us waiting for its socket.
      const ended = new AbortController();
      void vmm.exited.then((exit) => ended.abort(new LaunchError(exit.reason, { console: tail.lines() })));
      try {
        const control = await connectWhenOpen(sockets(directory).control, AbortSignal.any([signal, ended.signal]));
        // QEMU opens its sockets in the order of its arguments: the function's is there, for it comes before this one.
        onChannel(sockets(directory).function);
        return {
          control: new FrameSocket(control),
          exited: vmm.exited,
          consoleTail: () => tail.lines(),
          kill: () => vmm.kill(),
        } satisfies Machine;
      } catch (error) {
        await vmm.kill();
        throw error;
      }
    },
  };
}
