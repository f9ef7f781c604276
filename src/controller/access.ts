/** Runs in snapctr. Who may come in over HTTP, and how: keys, the log of who changed what, the TLS certificate. */
import { AuditLog } from '../auth/audit-log.ts';
import type { Key } from '../auth/key-file.ts';
import { WatchedKeys } from '../auth/keyring.ts';
import { keyFileOf } from '../auth/key-place.ts';
import { Certificate } from './gateway/certificate.ts';
import { checkAddress } from './gateway/listen-check.ts';
import { isLoopback } from './gateway/origin-policy.ts';
import type { Logger } from './log.ts';
import { UsageError } from './usage-error.ts';

/** What the command line says of it. */
export interface AccessFlags {
  readonly config: string;
  readonly host: string;
  /** Absent: `keys.json` beside the configuration, if it is there. */
  readonly keys?: string;
  /** Others may use the gateway without keys. */
  readonly insecure?: boolean;
  readonly auditLog?: string;
  /** PEM; both or none. */
  readonly tlsCert?: string;
  readonly tlsKey?: string;
}

export interface Access {
  readonly keys: WatchedKeys;
  readonly audit: AuditLog;
  /** Null: without TLS. */
  readonly certificate: Certificate | null;
}

/**
 * @throws UsageError, KeyFileError or CertificateError with what to change; Error if nobody can listen there.
 */
export async function openAccess(flags: AccessFlags, port: number, logger: Logger): Promise<Access> {
  const certificate = readCertificate(flags, logger);
  const audit = new AuditLog(flags.auditLog ?? null, (line) => logger.info({ audit: true, ...line }, line.action));
  const keys = watchKeys(flags, audit, logger);
  checkOpenness(flags, keys, await checkAddress(flags.host, port));
  return { keys, audit, certificate };
}

function readCertificate({ tlsCert, tlsKey }: AccessFlags, logger: Logger): Certificate | null {
  if (tlsCert === undefined && tlsKey === undefined) return null;
  if (tlsCert === undefined || tlsKey === undefined) {
    throw new UsageError('give both of --tls-cert FILE and --tls-key FILE, or none');
  }
  return new Certificate({
    certFile: tlsCert,
    keyFile: tlsKey,
    onReload: () => logger.info(`the TLS certificate ${tlsCert} was read anew`),
    onProblem: (message) => logger.warn(message),
  });
}

function watchKeys(flags: AccessFlags, audit: AuditLog, logger: Logger): WatchedKeys {
  const { path, isRequired } = keyFileOf(flags.keys, flags.config);
  const write = (action: 'keys.took' | 'keys.dropped', { id, name, role, functions }: Key): void =>
    audit.write({ action, by: 'snapctr', key: { id, name, role, functions }, file: path });
  const keys = new WatchedKeys({
    path,
    onChange: ({ added, removed }) => {
      for (const key of added) write('keys.took', key);
      for (const key of removed) write('keys.dropped', key);
    },
    onProblem: (message) => logger.error(message),
  });
  if (keys.current !== null || !isRequired) return keys;
  const make = `make one with "snapctr keys add NAME --role ROLE --keys ${path}"`;
  throw new UsageError(`there is no file of keys ${path}; ${make}`);
}

/** @throws UsageError if others could run functions without anybody having said so. */
function checkOpenness({ host, insecure }: AccessFlags, keys: WatchedKeys, address: string): void {
  if (isLoopback(address) || insecure === true || keys.current !== null) return;
  throw new UsageError(
    `--host ${host} lets others run functions, and there are no keys (${keys.path} is not there); ` +
      'make one with "snapctr keys add", or start with --insecure',
  );
}
