/** Runs in snapctr. The controller's `nats` block: the servers whose streams functions get messages of. */
import { z } from 'zod';
import { expected, text } from '../../yaml/values.ts';

export interface NatsSettings {
  /** URLs of one cluster. */
  readonly servers: readonly string[];
  /** Absolute; null: anybody may connect. */
  readonly credentialsPath: string | null;
  /** Of an authority that signed the servers' certificates; absolute; null: one that this host knows. */
  readonly caPath: string | null;
}

const MAX_SERVERS = 32;

const server = expected('the URL of a NATS server, such as `nats://127.0.0.1:4222` or `tls://nats.example:4222`');
const servers = expected('the URL of a NATS server, or a list of those of one cluster');
const url = z.string(server).refine((one) => isServer(one), { ...server, abort: true });

export const natsSchema = z.strictObject(
  {
    servers: z.union(
      [url.transform((one) => [one]), z.array(url, servers).min(1, servers).max(MAX_SERVERS, servers)],
      servers,
    ),
    credentials: text('a path').nullish(),
    ca_cert: text('a path').nullish(),
  },
  expected('a map with `servers` and, if wanted, `credentials` and `ca_cert`'),
);

/** @param absolute makes a path of the file one from the root. */
export function natsSettings(
  yaml: z.infer<typeof natsSchema> | null | undefined,
  absolute: (path: string) => string,
): NatsSettings | null {
  if (yaml == null) return null;
  const path = (given: string | null | undefined): string | null => (given == null ? null : absolute(given));
  return Object.freeze({
    servers: Object.freeze([...yaml.servers]),
    credentialsPath: path(yaml.credentials),
    caPath: path(yaml.ca_cert),
  });
}

/** Secrets have a file of their own, which is its owner's alone. */
function isServer(text: string): boolean {
  if (!/^(nats|tls):\/\//.test(text) || !URL.canParse(text)) return false;
  const { username, password, hostname, pathname } = new URL(text);
  return username === '' && password === '' && hostname !== '' && (pathname === '' || pathname === '/');
}
