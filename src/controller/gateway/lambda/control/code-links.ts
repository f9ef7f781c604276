/**
 * Runs in snapctr. URLs that download a package, as AWS gives them out for `Code.Location`: who has one needs no key, for ten
 * minutes, or until snapctr ends.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

const PATH = /^\/2015-03-31\/packages\/([0-9a-f]{64})\.zip$/;
const LIFE_MS = 10 * 60_000;

export class CodeLinks {
  readonly #key = randomBytes(32);

  /** Whether a path is that of a package, whose token is looked at by `check`. */
  static owns(path: string): boolean {
    return PATH.test(path);
  }

  /** @param base such as "http://127.0.0.1:8080" @param sha256 of the package, in hex. */
  urlOf(base: string, sha256: string): string {
    const expires = Date.now() + LIFE_MS;
    return `${base}/2015-03-31/packages/${sha256}.zip?expires=${expires}&token=${this.#token(sha256, expires)}`;
  }

  /** @returns the package that may be downloaded; null: the token is of another one, or too old. */
  check(path: string, query: URLSearchParams): string | null {
    const sha256 = PATH.exec(path)?.[1];
    const expires = Number(query.get('expires'));
    if (sha256 === undefined || !Number.isSafeInteger(expires) || expires < Date.now()) return null;
    const [wanted, given] = [Buffer.from(this.#token(sha256, expires)), Buffer.from(query.get('token') ?? '')];
    return wanted.length === given.length && timingSafeEqual(wanted, given) ? sha256 : null;
  }

  #token(sha256: string, expires: number): string {
    return createHmac('sha256', this.#key).update(`${sha256} ${expires}`).digest('hex');
  }
}

/** As the client names us, so that it finds us again. */
export function baseOf({ headers, socket }: IncomingMessage): string {
  const scheme = 'encrypted' in socket ? 'https' : 'http';
  const { localAddress = '127.0.0.1', localPort = 80 } = socket;
  const address = localAddress.includes(':') ? `[${localAddress}]` : localAddress;
  return `${scheme}://${headers.host ?? `${address}:${localPort}`}`;
}
