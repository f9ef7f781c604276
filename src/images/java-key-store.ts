/**
 * Runs in the builder and in `npm start`. Writes a key store of Java's with certificate authorities, which `keytool -importcert` would take
 * a start of Java for each of.
 *
 * Source: the JKS format as `sun.security.provider.JavaKeyStore` of OpenJDK reads it: magic number, version, number of entries; of each
 * what it is, its alias, its time, the kind and the bytes of its certificate; then a digest of all that with the password.
 */
import { createHash, X509Certificate } from 'node:crypto';

const MAGIC = 0xfeedfeed;
const VERSION = 2;
const TRUSTED_CERTIFICATE = 2;
const KIND = 'X.509';
/** The password that all stores of certificate authorities have; it keeps nothing secret. */
const PASSWORD = 'changeit';
/** Part of the digest. */
const SALT = 'Mighty Aphrodite';
/** 2020-01-01, in ms: the same certificates are the same bytes. */
const CREATED = 1_577_836_800_000n;

/** @param certificates aliases, in ASCII, with certificates as PEM. */
export function writeKeyStore(certificates: readonly (readonly [alias: string, pem: string])[]): Buffer {
  const parts = [uint32(MAGIC), uint32(VERSION), uint32(certificates.length)];
  for (const [alias, pem] of certificates) {
    const der = new X509Certificate(pem).raw;
    const time = Buffer.alloc(8);
    time.writeBigInt64BE(CREATED);
    parts.push(uint32(TRUSTED_CERTIFICATE), text(alias.toLowerCase()), time, text(KIND), uint32(der.length), der);
  }
  const store = Buffer.concat(parts);
  const password = Buffer.from(PASSWORD, 'utf16le').swap16();
  return Buffer.concat([store, createHash('sha1').update(password).update(SALT).update(store).digest()]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** As `DataOutput.writeUTF` does it. */
function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'utf8');
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
