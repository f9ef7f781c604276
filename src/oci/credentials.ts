/**
 * Runs in snapctr and in the builder. Who we are to a registry: `auths` of Docker's configuration, as `docker login` writes it. Programs that
 * it may name for the same are not run.
 */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';

const fileSchema = z.object({ auths: z.record(z.string(), z.object({ auth: z.string().optional() })).optional() });
/** As Docker calls its own. */
const HUB_KEYS = ['https://index.docker.io/v1/', 'index.docker.io'];

/** @returns `user:password`; null: nothing is known of us there. */
export async function credentialsFor(host: string): Promise<string | null> {
  const directory = process.env['DOCKER_CONFIG'] ?? join(homedir(), '.docker');
  const text = await readFile(join(directory, 'config.json'), 'utf8').catch(() => null);
  if (text === null) return null;
  const { data } = fileSchema.safeParse(parsed(text));
  const keys = [host, `https://${host}`, ...(host === 'docker.io' ? HUB_KEYS : [])];
  const auth = keys.map((key) => data?.auths?.[key]?.auth).find((known) => known !== undefined);
  const pair = auth === undefined ? '' : Buffer.from(auth, 'base64').toString('utf8');
  return pair.includes(':') ? pair : null;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
