/**
 * Runs in firerunner and in `snapctr doctor`. Keeps what probes found out, for each boot of the host: one file a verdict,
 * `~/.cache/snapfaas/verdicts/NAME-BOOT-DIGEST.json`. The digest is over the guest, the programs and the settings that were
 * probed, for a broken guest says nothing of the next one.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDirectory } from '../../storage/cache-directory.ts';
import type { Verdict } from './result.ts';

/** Characters of the digest that go into a name. */
const DIGEST_LENGTH = 12;
/** A name with the identifier of a boot, a UUID; also of a file that was being written. */
const OF_A_BOOT = /^[a-z]+(-[a-z]+)*-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-[0-9a-f]{12}\.json(\.[0-9]+)?$/;
/** How long a verdict holds that a busy host may have caused, in ms. */
const BRIEF_MS = 10 * 60_000;

/** How long a verdict is kept: until the host boots again, for some minutes, or not at all. */
export type Keeping = 'boot' | 'briefly' | 'never';

/** What a verdict depends on: it goes for another case as soon as one of these is another. */
export interface Grounds {
  /** Told apart by size and time of change. */
  readonly files: readonly string[];
  /** Settings, in any words. */
  readonly facts?: readonly string[];
}

export interface Discovery {
  readonly verdict: Verdict;
  readonly keep: Keeping;
}

export class VerdictCache {
  readonly #directory: string;
  readonly #use: 'reuse' | 'renew';

  /** @param use `renew`: everything is found out again, and kept for those who come later. */
  constructor(use: 'reuse' | 'renew', directory = join(cacheDirectory(), 'verdicts')) {
    this.#use = use;
    this.#directory = directory;
  }

  /** The verdict that is kept, or else a new one, which is kept from then on. */
  async find(name: string, grounds: Grounds, findOut: () => Promise<Discovery>): Promise<Verdict> {
    const boot = bootId();
    const digest = digestOf(grounds);
    if (boot === null || digest === null) return (await findOut()).verdict;
    const path = join(this.#directory, `${name}-${boot}-${digest}.json`);
    const kept = this.#use === 'reuse' ? readVerdict(path) : null;
    if (kept !== null) {
      const origin = `found out earlier and kept in ${path}; "snapctr doctor" tries again`;
      return { ...kept, finding: `${kept.finding} (${origin})` };
    }
    const discovery = await findOut();
    this.#keep(path, discovery, boot);
    return discovery.verdict;
  }

  #keep(path: string, { verdict, keep }: Discovery, boot: string): void {
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      if (keep === 'never') {
        rmSync(path, { force: true });
      } else {
        const temporary = `${path}.${process.pid}`;
        const until = keep === 'briefly' ? Date.now() + BRIEF_MS : null;
        writeFileSync(temporary, JSON.stringify({ ...verdict, until }));
        renameSync(temporary, path);
      }
      for (const name of readdirSync(this.#directory)) {
        if (OF_A_BOOT.test(name) && !name.includes(boot)) rmSync(join(this.#directory, name), { force: true });
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
function digestOf({ files, facts = [] }: Grounds): string | null {
  const digest = createHash('sha256');
  try {
    for (const file of files) {
      const { size, mtimeMs } = statSync(file);
      digest.update(`${file} ${size} ${mtimeMs}\n`);
    }
  } catch {
    return null;
  }
  for (const fact of facts) digest.update(`${JSON.stringify(fact)}\n`);
  return digest.digest('hex').slice(0, DIGEST_LENGTH);
}

function readVerdict(path: string): Verdict | null {
  try {
    const kept = JSON.parse(readFileSync(path, 'utf8')) as Record<keyof Verdict | 'until', unknown>;
    const { usable, finding, remedy, until } = kept;
    if (typeof usable !== 'boolean' || typeof finding !== 'string') return null;
    if (typeof until === 'number' && !isWithin(until)) return null;
    return { usable, finding, remedy: typeof remedy === 'string' ? remedy : null };
  } catch {
    return null;
  }
}

/** A clock that was set back does not make it hold longer. */
function isWithin(until: number): boolean {
  const leftMs = until - Date.now();
  return leftMs > 0 && leftMs <= BRIEF_MS;
}
