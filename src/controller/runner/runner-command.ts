/** Runs in snapctr. How firerunner is started. */
import { fileURLToPath } from 'node:url';
import type { QemuAccelerator } from '../../protocol/runner.ts';
import { capabilitiesOf, type VmmWish } from '../../protocol/vmms.ts';
import type { Config } from '../config/config.ts';

/** firerunner's program and arguments. */
export function runnerCommand(
  flags: { readonly vmm: VmmWish; readonly accel: 'auto' | QemuAccelerator },
  config: Config,
): readonly string[] {
  const program = fileURLToPath(new URL('../../bin/firerunner.js', import.meta.url));
  const command = [process.execPath, program, '--serve', '--vmm', flags.vmm, '--accel', flags.accel];
  if (!capabilitiesOf(flags.vmm).isolates) return command;
  const guest = ['--kernel', config.kernelPath, '--initrd', config.initrdPath];
  return [...command, ...guest, '--vmm-settings', JSON.stringify(config.vmmSettings)];
}
