/** Runs in firerunner. What a snapshot that QEMU made depends on: the program, the machine it was told to be, the CPU. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { QemuAccelerator } from '../../protocol/runner.ts';
import { cpuIdentity } from '../host-cpu.ts';
import { functionSocket, QEMU_COMMAND, qemuArguments } from './command-line.ts';

const known: Partial<Record<QemuAccelerator, Promise<Readonly<Record<string, string>>>>> = {};

export function qemuStamp(accelerator: QemuAccelerator): Promise<Readonly<Record<string, string>>> {
  return (known[accelerator] ??= readStamp(accelerator));
}

/** The CPU counts under emulation as well: the guest measured the rate of its time stamp counter when it booted. */
async function readStamp(accelerator: QemuAccelerator): Promise<Readonly<Record<string, string>>> {
  const [{ stdout }, cpuinfo] = await Promise.all([
    promisify(execFile)(QEMU_COMMAND, ['--version']),
    readFile('/proc/cpuinfo', 'utf8'),
  ]);
  const anyMachine = {
    memoryMib: 0,
    vcpus: 0,
    kernelPath: '',
    initrdPath: '',
    rootfsPath: '',
    appfsPath: '',
    kernelArgs: '',
    runtime: null,
    network: true,
  } as const;
  const anyTap = { tapName: '', mac: '' };
  return {
    vmm: stdout.split('\n', 1)[0] ?? '',
    accelerator,
    machine: qemuArguments(anyMachine, {
      ...{ accelerator, from: 'boot', socketPath: functionSocket(''), memory: null, network: anyTap },
    }).join(' '),
    cpu: cpuIdentity(cpuinfo),
  };
}
