/** Runs in firerunner. What a snapshot depends on of the host's processor. */

/** @param cpuinfo the contents of /proc/cpuinfo. */
export function cpuIdentity(cpuinfo: string): string {
  const [firstCpu = ''] = cpuinfo.split('\n\n', 1);
  const field = (name: string): string => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(firstCpu)?.[1] ?? '';
  return ['model name', 'cpu family', 'model', 'stepping', 'microcode', 'flags'].map(field).join('; ');
}
