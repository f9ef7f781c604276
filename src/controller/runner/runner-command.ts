/** Runs in snapctr. How firerunner is started. */
import { fileURLToPath } from 'node:url';
import type { QemuAccelerator, VmmName } from '../../protocol/runner.ts';
import type { Config } from '../config/config.ts';

/** firerunner's program and arguments. */
export function runnerCommand(
  flags: { readonly vmm: 'auto' | VmmName; readonly accel: 'auto' | QemuAccelerator },
  config: Config,
): readonly string[] {
  const program = fileURLToPath(new URL('../../bin/firerunner.js', import.meta.url));
  const command = [process.execPath, program, '--serve', '--vmm', flags.vmm, '--accel', flags.accel];
  if (flags.vmm === 'process') return command;
  const guest = ['--kernel', config.kernelPath, '--initrd', config.initrdPath];
  return [...command, ...guest, '--vmm-settings', JSON.stringify(config.vmmSettings)];
}
