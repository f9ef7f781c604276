/** Runs in `snapctr doctor`. Whether the tap devices of the configuration are there. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ok, skipped, warning, type Check } from '../check.ts';

export const networkCheck: Check = {
  name: 'network',
  run({ subject, hostRoot }) {
    const { network } = subject.settings;
    if (network === null) return skipped('not asked for: VMs have the loopback interface alone');
    // Of all network devices only taps and tuns have this file.
    const missing = network.taps.filter((tap) => !existsSync(join(hostRoot, '/sys/class/net', tap, 'tun_flags')));
    if (missing.length === 0) return ok(`${network.taps.length} tap devices, ${network.subnet}`);
    return warning(
      `no tap devices: ${missing.join(', ')}; functions with a network cannot run in all of their VMs`,
      'make them, as root: snapctr network up --config FILE',
    );
  },
};
