/** Runs in snapctr. How firerunner is started. */
import { fileURLToPath } from 'node:url';
import type { QemuAccelerator } from '../../protocol/runner.ts';
import { capabilitiesOf, type VmmWish } from '../../protocol/vmms.ts';
import type { Config } from '../config/config.ts';

/**
 * What it keeps of ten thousand functions survives the collections of V8's young generation, and each of those stops it for as long
 * as its survivors take to be moved: less of them at a time, in MB.
 */
const YOUNG_GENERATION_MB = 2;

/** firerunner's program and arguments. */
export function runnerCommand(
  flags: { readonly vmm: VmmWish; readonly accel: 'auto' | QemuAccelerator },
  config: Config,
): readonly string[] {
  const program = fileURLToPath(new URL('../../bin/firerunner.js', import.meta.url));
  const v8 = `--max-semi-space-size=${YOUNG_GENERATION_MB}`;
  const command = [process.execPath, v8, program, '--serve', '--vmm', flags.vmm, '--accel', flags.accel];
  if (!capabilitiesOf(flags.vmm).isolates) return command;
  const guest = ['--kernel', config.kernelPath, '--initrd', config.initrdPath];
  return [...command, ...guest, '--vmm-settings', JSON.stringify(config.vmmSettings)];
}
