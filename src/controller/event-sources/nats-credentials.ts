/** Runs in snapctr. Who snapctr is to a NATS server: a file that is its owner's alone, as NATS writes it or as a map in YAML. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import {
  credsAuthenticator,
  nkeyAuthenticator,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
  type Authenticator,
} from '@nats-io/transport-node';
import { z } from 'zod';
import { messageOf } from '../../protocol/errors.ts';
import { parseYaml } from '../../yaml/parse.ts';
import { CredentialsError } from '../config/credentials-error.ts';

const MAX_BYTES = 64 * 1024;
const OTHERS = 0o077;
const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
/** How a file begins that `nsc` has made. */
const CREDS = '-----BEGIN NATS USER JWT-----';

const mapSchema = z.union([
  z.strictObject({ user: z.string().min(1), password: z.string() }),
  z.strictObject({ token: z.string().min(1) }),
  z.strictObject({ nkey: z.string().regex(/^SU[A-Z2-7]+$/) }),
]);

/** @throws CredentialsError */
export async function readCredentials(path: string): Promise<Authenticator> {
  const text = await readPrivately(path);
  if (text.includes(CREDS)) return credsAuthenticator(new TextEncoder().encode(text));
  let value: unknown = null;
  try {
    value = parseYaml(text);
  } catch {
    // Whatever it is, the message must not show it.
  }
  const map = mapSchema.safeParse(value).data;
  if (map === undefined) {
    const wanted = 'a .creds file of NATS, or a map with `user` and `password`, with `token`, or with `nkey`';
    throw new CredentialsError(`the credentials ${path} are none that are known here; put in ${wanted}`);
  }
  if ('token' in map) return tokenAuthenticator(map.token);
  if ('nkey' in map) return nkeyAuthenticator(new TextEncoder().encode(map.nkey));
  return usernamePasswordAuthenticator(map.user, map.password);
}

async function readPrivately(path: string): Promise<string> {
  const refused = (problem: string): CredentialsError => new CredentialsError(`the credentials ${path} ${problem}`);
  const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch((error: unknown) => {
    throw refused(`cannot be read: ${messageOf(error)}`);
  });
  try {
    const status = await file.stat();
    const us = process.geteuid?.() ?? status.uid;
    if (!status.isFile()) throw refused('are no regular file');
    if (status.uid !== us) throw refused(`belong to user ${status.uid}, not to us (${us}); "chown" gives them to us`);
    if ((status.mode & OTHERS) !== 0) {
      const octal = (status.mode & 0o777).toString(8).padStart(4, '0');
      throw refused(`can be used by others (mode ${octal}); "chmod 600 ${path}"`);
    }
    if (status.size > MAX_BYTES) throw refused(`have ${status.size} bytes, over the limit of ${MAX_BYTES}`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}
