/**
 * Runs in firerunner and in `snapctr doctor`. Keeps what probes found out, for each boot of the host: one file a verdict,
 * `~/.cache/snapfaas/verdicts/NAME-BOOT-DIGEST.json`. The digest is over the guest and the programs that were probed, for a
 * broken guest says nothing of the next one.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDirectory } from '../../storage/cache-directory.ts';
import type { Verdict } from './verdict.ts';

/** Characters of the digest that go into a name. */
const DIGEST_LENGTH = 12;

export class VerdictCache {
  readonly #directory: string;
  readonly #use: 'reuse' | 'renew';

  /** @param use `renew`: everything is found out again, and kept for those who come later. */
  constructor(use: 'reuse' | 'renew', directory = join(cacheDirectory(), 'verdicts')) {
    this.#use = use;
    this.#directory = directory;
  }

  /**
   * The verdict that is kept, or else a new one, which is kept from then on.
   *
   * @param files that it depends on; one that has changed makes another verdict.
   */
  async find(name: string, files: readonly string[], findOut: () => Promise<Verdict>): Promise<Verdict> {
    const boot = bootId();
    const digest = digestOf(files);
    if (boot === null || digest === null) return findOut();
    const path = join(this.#directory, `${name}-${boot}-${digest}.json`);
    const kept = this.#use === 'reuse' ? readVerdict(path) : null;
    if (kept !== null) {
      const origin = `found out earlier and kept in ${path}; "snapctr doctor" tries again`;
      return { ...kept, finding: `${kept.finding} (${origin})` };
    }
    const verdict = await findOut();
    this.#keep(path, verdict, boot);
    return verdict;
  }

  #keep(path: string, verdict: Verdict, boot: string): void {
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      const temporary = `${path}.${process.pid}`;
      writeFileSync(temporary, JSON.stringify(verdict));
      renameSync(temporary, path);
      for (const name of readdirSync(this.#directory)) {
        if (!name.includes(boot)) rmSync(join(this.#directory, name), { force: true });
      }
    } catch {
      // Without the cache the next start probes again.
    }
  }
}

/** Null where the host does not say which boot it is. */
function bootId(): string | null {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return null;
  }
}

/** Null if one of the files is not there. */
function digestOf(files: readonly string[]): string | null {
  const digest = createHash('sha256');
  try {
    for (const file of files) {
      const { size, mtimeMs } = statSync(file);
      digest.update(`${file} ${size} ${mtimeMs}\n`);
    }
  } catch {
    return null;
  }
  return digest.digest('hex').slice(0, DIGEST_LENGTH);
}

function readVerdict(path: string): Verdict | null {
  try {
    const { usable, finding, remedy } = JSON.parse(readFileSync(path, 'utf8')) as Record<keyof Verdict, unknown>;
    if (typeof usable !== 'boolean' || typeof finding !== 'string') return null;
    return { usable, finding, remedy: typeof remedy === 'string' ? remedy : null };
  } catch {
    return null;
  }
}
