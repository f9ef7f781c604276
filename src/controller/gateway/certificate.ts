/**
 * Runs in snapctr. The certificate of the gateway and its key, two files in PEM, which are looked at again at most once a
 * second when somebody connects. A pair that cannot be used (half of it replaced, a key of another certificate) changes nothing.
 */
import { createSecureContext } from 'node:tls';
import { messageOf } from '../../protocol/errors.ts';
import { readRegularSync } from '../../storage/regular-file.ts';

export interface CertificateOptions {
  /** Certificate, and those between it and a known one. */
  readonly certFile: string;
  readonly keyFile: string;
  readonly onReload: () => void;
  /** The pair cannot be used; the old one is. */
  readonly onProblem: (message: string) => void;
  /** How long what was seen of the files is believed, in ms. */
  readonly recheckMs?: number;
}

/** The pair cannot be used; the message says why. */
export class CertificateError extends Error {
  override readonly name = 'CertificateError';
}

const RECHECK_MS = 1000;

interface Pair {
  readonly cert: string;
  readonly key: string;
}

export class Certificate {
  readonly #options: CertificateOptions;
  readonly #recheckMs: number;
  #pair: Pair;
  /** What was read last, whether it could be used or not. */
  #seen: string;
  #checkedAt = performance.now();

  /** @throws CertificateError */
  constructor(options: CertificateOptions) {
    this.#options = options;
    this.#recheckMs = options.recheckMs ?? RECHECK_MS;
    const read = readPair(options);
    const used = read instanceof CertificateError ? read : usable(read, options);
    if (used instanceof CertificateError) throw used;
    this.#pair = used;
    this.#seen = textOf(used);
  }

  /** The pair that holds now. */
  get pair(): Pair {
    return this.#pair;
  }

  /** @returns whether the pair is another one than before. */
  check(): boolean {
    const now = performance.now();
    if (now - this.#checkedAt < this.#recheckMs) return false;
    this.#checkedAt = now;
    const read = readPair(this.#options);
    const seen = read instanceof CertificateError ? read.message : textOf(read);
    if (seen === this.#seen) return false;
    this.#seen = seen;
    const used = read instanceof CertificateError ? read : usable(read, this.#options);
    if (used instanceof CertificateError) {
      this.#options.onProblem(`${used.message}; until then the old pair is used`);
      return false;
    }
    this.#pair = used;
    this.#options.onReload();
    return true;
  }
}

function readPair({ certFile, keyFile }: CertificateOptions): Pair | CertificateError {
  const read = (file: string, what: string): string | CertificateError => {
    try {
      return readRegularSync(file).toString();
    } catch (error) {
      return new CertificateError(`the TLS ${what} ${file} cannot be read: ${messageOf(error)}`, { cause: error });
    }
  };
  const cert = read(certFile, 'certificate');
  if (cert instanceof CertificateError) return cert;
  const key = read(keyFile, 'key');
  return key instanceof CertificateError ? key : { cert, key };
}

function usable(pair: Pair, { certFile, keyFile }: CertificateOptions): Pair | CertificateError {
  try {
    createSecureContext(pair);
    return pair;
  } catch (error) {
    const why = messageOf(error);
    return new CertificateError(
      `${certFile} and ${keyFile} are no certificate and its key in PEM (${why}); correct --tls-cert and --tls-key`,
      { cause: error },
    );
  }
}

function textOf({ cert, key }: Pair): string {
  return `${cert}\n${key}`;
}
