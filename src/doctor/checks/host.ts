/** Runs in `snapctr doctor`. The ground everything stands on: Node, system and processor, and what building images needs. */
import { readFileSync } from 'node:fs';
import { availableParallelism, release } from 'node:os';
import { join } from 'node:path';
import { PROJECT_ROOT } from '../../images/project.ts';
import { missingPackages } from '../../setup/host-packages.ts';
import { ok, problem, warning, type Check, type Finding } from '../check.ts';

export const nodeCheck: Check = { name: 'node', run: () => nodeFinding(process.versions.node) };

/** The oldest major version that is still maintained, and tested by the project beside the oldest that works. */
const RECOMMENDED_MAJOR = 22;

/** @param version such as "20.19.0". */
export function nodeFinding(version: string): Finding {
  const oldest = oldestNode();
  const [a, b] = [version, oldest].map((text) => text.split('.').map(Number));
  const [major = 0, minor = 0] = a ?? [];
  const [oldestMajor = 0, oldestMinor = 0] = b ?? [];
  const isNewEnough = major > oldestMajor || (major === oldestMajor && minor >= oldestMinor);
  const advice = 'install Node.js 22 or 24: https://nodejs.org';
  if (!isNewEnough) return problem(`Node.js ${version}; ${oldest} or newer is needed`, advice);
  if (major < RECOMMENDED_MAJOR) return warning(`Node.js ${version}, which gets no security updates any more`, advice);
  return ok(`Node.js ${version}`);
}

/** What package.json asks for, such as "20.19". */
function oldestNode(): string {
  const manifest = JSON.parse(readFileSync(join(PROJECT_ROOT, 'package.json'), 'utf8')) as {
    readonly engines: { readonly node: string };
  };
  return manifest.engines.node.replace(/^>=/, '');
}

export const systemCheck: Check = { name: 'system', run: () => systemFinding(process.platform, process.arch) };

export function systemFinding(platform: NodeJS.Platform, arch: NodeJS.Architecture): Finding {
  const detail = `${platform === 'linux' ? 'Linux' : platform} ${release()} on ${arch}, ${availableParallelism()} processors`;
  if (platform === 'linux' && arch === 'x64') return ok(detail);
  return problem(`${detail}; VMs need Linux on x86-64`, 'take such a machine, or a VM');
}

export const buildToolsCheck: Check = {
  name: 'build-tools',
  run() {
    const missing = missingPackages('start').filter(({ name }) => !name.startsWith('qemu'));
    if (missing.length === 0) return ok('what building images needs is installed');
    const names = missing.map(({ name }) => name).join(' ');
    return warning(
      `images cannot be built: ${missing.map(({ name, why }) => `${name} is missing (it ${why})`).join(', ')}`,
      `install them: apt-get install --no-install-recommends ${names}`,
    );
  },
};
