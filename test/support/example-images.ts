/** Container images of `examples/`, built by their own scripts with what the registries have; kept from run to run. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sha256Json } from '../../src/storage/digest.ts';
import { withLock } from '../../src/storage/lock.ts';
import { EXAMPLES } from './examples.ts';
import { whyWithout } from './needed-program.ts';
import { TEST_CACHE } from './snapctr.ts';

/** With all packages to fetch. */
const BUILD_LIMIT_MS = 300_000;
/** Programs of `build.sh`, and Debian's packages that have them. */
const PROGRAMS = { mmdebstrap: 'mmdebstrap', umoci: 'umoci', pip3: 'python3-pip' } as const;

/** Why there can be no images of examples; false: there can. */
export function whyWithoutImages(): string | false {
  const whys = Object.entries(PROGRAMS).map(([program, debianPackage]) => whyWithout(program, debianPackage));
  return whys.find((why) => why !== false) ?? false;
}

/** @returns the OCI layout, built again if the example has changed. */
export async function builtImage(example: string): Promise<string> {
  const place = join(TEST_CACHE, 'example-images', example);
  const stamp = join(place, 'built-from');
  const layout = join(place, 'image');
  const sources = readdirSync(join(EXAMPLES, example)).filter((name) => name !== 'image' && name !== 'README.md');
  const texts = sources.map((name) => [name, readFileSync(join(EXAMPLES, example, name), 'utf8')] as const);
  const wanted = sha256Json(Object.fromEntries(texts));
  mkdirSync(join(place, '..'), { recursive: true });
  return withLock(`${place}.lock`, () => {
    if (readIfThere(stamp) !== wanted) {
      rmSync(place, { recursive: true, force: true });
      mkdirSync(place, { recursive: true });
      const { status, signal, stderr } = spawnSync(join(EXAMPLES, example, 'build.sh'), [layout], {
        encoding: 'utf8',
        timeout: BUILD_LIMIT_MS,
      });
      assert.equal(status, 0, `build.sh of ${example} ended with ${status ?? signal}: ${stderr}`);
      writeFileSync(stamp, wanted);
    }
    return Promise.resolve(layout);
  });
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
