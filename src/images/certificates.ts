/**
 * Runs in the builder and in `npm start`. The certificate authorities that programs trust, as Debian's ca-certificates has
 * them, where programs look for them: one by one under the digests of their names, and all in one file.
 */
import { mkdir, readdir, readFile, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { runGuestProgram } from './guest-program.ts';
import { placeLink } from './runtimefs.ts';

const PACKAGED = join('usr', 'share', 'ca-certificates', 'mozilla');
/** Each in a file of its own, from the root. */
export const CERTIFICATES = join('etc', 'ssl', 'certs');
const BUNDLE = join('/', CERTIFICATES, 'ca-certificates.crt');

/** Where the bundle is looked for beside Debian's place, which is OpenSSL's as well. */
export const CERTIFICATE_LINKS: readonly string[] = [
  // Default of OpenSSL: without it Python's `ssl` has none before its first connection.
  'usr/lib/ssl/cert.pem',
  // Where Lambda's documentation has it, for NODE_EXTRA_CA_CERTS.
  'var/runtime/ca-cert.pem',
  // Amazon Linux, Fedora.
  ...['etc/pki/tls/cert.pem', 'etc/pki/tls/certs/ca-bundle.crt', 'etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem'],
  // Alpine, SUSE.
  ...['etc/ssl/cert.pem', 'etc/ssl/ca-bundle.pem'],
];

/** Moves the certificates of the package, unpacked in `root`, to their places. The package's openssl must be there as well. */
export async function placeCertificates(root: string): Promise<void> {
  const directory = join(root, CERTIFICATES);
  await mkdir(directory, { recursive: true });
  const bundle: Buffer[] = [];
  for (const name of (await readdir(join(root, PACKAGED))).sort()) {
    const place = join(directory, `${basename(name, '.crt')}.pem`);
    await rename(join(root, PACKAGED, name), place);
    bundle.push(await readFile(place));
  }
  await runGuestProgram(root, 'usr/bin/openssl', ['rehash', directory], {
    environment: { OPENSSL_CONF: '/dev/null' },
  });
  await numberInOrder(directory);
  await writeFile(join(root, BUNDLE), Buffer.concat(bundle));
  for (const path of CERTIFICATE_LINKS) await placeLink(root, path, BUNDLE);
}

/**
 * Certificates of equal names are numbered, `1f58a078.0` and `1f58a078.1`, in the order in which openssl finds them in the
 * directory, which is another in each build. Here it is that of their files' names.
 */
async function numberInOrder(directory: string): Promise<void> {
  const groups = new Map<string, string[]>();
  for (const name of await readdir(directory)) {
    const digest = /^([0-9a-f]{8})\.\d+$/.exec(name)?.[1];
    if (digest === undefined) continue;
    groups.set(digest, [...(groups.get(digest) ?? []), await readlink(join(directory, name))]);
    await rm(join(directory, name));
  }
  for (const [digest, targets] of groups) {
    for (const [number, target] of targets.sort().entries())
      await symlink(target, join(directory, `${digest}.${number}`));
  }
}
