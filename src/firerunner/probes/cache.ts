/**
 * Runs in firerunner and in `snapctr doctor`. Keeps what probes found out, for each boot of the host: one file a result,
 * `~/.cache/snapfaas/probes/NAME-BOOT-DIGEST.json`. The digest is over the guest, the programs and the settings that were
 * probed, for a broken guest says nothing of the next one.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDirectory } from '../../storage/cache-directory.ts';
import type { ProbeResult } from './result.ts';

/** Characters of the digest that go into a name. */
const DIGEST_LENGTH = 12;
/** A name with the identifier of a boot, a UUID; also of a file that was being written. */
const OF_A_BOOT = /^[a-z]+(-[a-z]+)*-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-[0-9a-f]{12}\.json(\.[0-9]+)?$/;
/** How long a result holds that a busy host may have caused, in ms. */
const BRIEF_MS = 10 * 60_000;

/** How long a result is kept: until the host boots again, for some minutes, or not at all. */
export type Keep = 'boot' | 'briefly' | 'never';

/** What a result depends on: it goes for another case as soon as one of these is another. */
export interface ProbeKey {
  /** Told apart by size and time of change. */
  readonly files: readonly string[];
  /** Settings, in any words. */
  readonly facts?: readonly string[];
}

export interface ProbeOutcome {
  readonly result: ProbeResult;
  readonly keep: Keep;
}

export class ProbeCache {
  readonly #directory: string;
  readonly #use: 'reuse' | 'renew';

  /** What was found out anew, by the file that it is kept in. */
  readonly #renewed = new Map<string, Promise<ProbeResult>>();

  /** @param use `renew`: everything is found out again, once, and kept for those who come later. */
  constructor(use: 'reuse' | 'renew', directory = join(cacheDirectory(), 'probes')) {
    this.#use = use;
    this.#directory = directory;
  }

  /** The result that is kept, or else a new one, which is kept from then on. */
  async find(name: string, key: ProbeKey, findOut: () => Promise<ProbeOutcome>): Promise<ProbeResult> {
    const boot = bootId();
    const digest = digestOf(key);
    if (boot === null || digest === null) return (await findOut()).result;
    const path = join(this.#directory, `${name}-${boot}-${digest}.json`);
    const kept = this.#use === 'reuse' ? readResult(path) : null;
    if (kept !== null) {
      const origin = `found out earlier and kept in ${path}; "snapctr doctor" tries again`;
      return { ...kept, finding: `${kept.finding} (${origin})` };
    }
    const renewed = this.#renewed.get(path) ?? this.#renew(path, boot, findOut);
    if (this.#use === 'renew') this.#renewed.set(path, renewed);
    return renewed;
  }

  async #renew(path: string, boot: string, findOut: () => Promise<ProbeOutcome>): Promise<ProbeResult> {
    const outcome = await findOut();
    this.#keep(path, outcome, boot);
    return outcome.result;
  }

  #keep(path: string, { result, keep }: ProbeOutcome, boot: string): void {
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      if (keep === 'never') {
        rmSync(path, { force: true });
      } else {
        const temporary = `${path}.${process.pid}`;
        const until = keep === 'briefly' ? Date.now() + BRIEF_MS : null;
        writeFileSync(temporary, JSON.stringify({ ...result, until }));
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
function digestOf({ files, facts = [] }: ProbeKey): string | null {
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

function readResult(path: string): ProbeResult | null {
  try {
    const kept = JSON.parse(readFileSync(path, 'utf8')) as Record<keyof ProbeResult | 'until', unknown>;
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
