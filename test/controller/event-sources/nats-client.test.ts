/** The connection to a NATS server that encrypts, and lets those in whom an operator's account has signed. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { jetstreamManager } from '@nats-io/jetstream';
import { credsAuthenticator, nkeys } from '@nats-io/transport-node';
import type { NatsSettings } from '../../../src/controller/config/nats.ts';
import { NatsClient, NotConnectedError } from '../../../src/controller/event-sources/nats-client.ts';
import type { Logger } from '../../../src/controller/log.ts';
import { NatsServer, NO_NATS } from '../../support/nats-server.ts';

type KeyPair = ReturnType<typeof nkeys.createUser>;

const PATIENCE_MS = 20_000;
/** Pauses between tries double: the last one is as long as all before it. */
const AWAY_MS = 2500;
const SILENT = { info: () => undefined, warn: () => undefined, debug: () => undefined } as unknown as Logger;

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** As `nsc` makes them: claims that a key pair has signed. */
function signed(by: KeyPair, subject: KeyPair, nats: object): string {
  const iat = Math.floor(Date.now() / 1000);
  const claims = {
    jti: subject.getPublicKey(),
    iat,
    iss: by.getPublicKey(),
    name: 'test',
    sub: subject.getPublicKey(),
  };
  const text = `${base64({ typ: 'JWT', alg: 'ed25519-nkey' })}.${base64({ ...claims, nats: { ...nats, version: 2 } })}`;
  return `${text}.${Buffer.from(by.sign(bytes(text))).toString('base64url')}`;
}

function credsOf(account: KeyPair): string {
  const user = nkeys.createUser();
  const jwt = signed(account, user, { type: 'user', subs: -1, data: -1, payload: -1 });
  const seed = new TextDecoder().decode(user.getSeed());
  const part = (name: string, text: string): string => `-----BEGIN ${name}-----\n${text}\n------END ${name}------\n\n`;
  return part('NATS USER JWT', jwt) + part('USER NKEY SEED', seed);
}

describe('a server with TLS and an operator', { skip: NO_NATS }, () => {
  let directory: string;
  let server: NatsServer;
  let client: NatsClient | null = null;
  let good: NatsSettings;

  const file = (name: string, text: string): string => {
    const path = join(directory, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };

  function certificate(name: string): readonly [string, string] {
    const paths = [join(directory, `${name}.key`), join(directory, `${name}.pem`)] as const;
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1'];
    const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'];
    const output = ['-keyout', paths[0], '-out', paths[1]];
    execFileSync('openssl', ['req', '-x509', ...kind, ...subject, ...output], { stdio: 'ignore' });
    return paths;
  }

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'snapfaas-test-'));
    const [key, cert] = certificate('server');
    certificate('other');
    const [operator, account, system] = [nkeys.createOperator(), nkeys.createAccount(), nkeys.createAccount()];
    const all = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 };
    const streams = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 };
    const accountOf = (keys: KeyPair, limits: object): string =>
      `${keys.getPublicKey()}: ${signed(operator, keys, { type: 'account', limits })}`;
    const configuration = `
      operator: ${signed(operator, operator, { type: 'operator' })}
      resolver: MEMORY
      system_account: ${system.getPublicKey()}
      resolver_preload: { ${accountOf(account, { ...all, ...streams })}, ${accountOf(system, all)} }
      tls: { cert_file: ${JSON.stringify(cert)}, key_file: ${JSON.stringify(key)} }
    `;
    const creds = credsOf(account);
    // The client leaves the name out of what Node checks the certificate for, where it is an address.
    const tls = { ca: readFileSync(cert, 'utf8'), checkServerIdentity: () => undefined };
    const options = { authenticator: credsAuthenticator(bytes(creds)), tls };
    server = await NatsServer.on(directory, {}, { configuration, options });
    await server.start();
    good = { servers: [server.url], credentialsPath: file('good.creds', creds), caPath: cert };
  });

  afterEach(async () => {
    await client?.close();
    client = null;
  });

  after(async () => {
    await server.kill();
    rmSync(directory, { recursive: true });
  });

  /** What it says while it is not connected, or null when it is. */
  const problemOf = (asked: NatsClient): string | null => {
    try {
      asked.connection();
      return null;
    } catch (error) {
      assert.ok(error instanceof NotConnectedError);
      return error.message;
    }
  };

  async function until(asked: NatsClient, isReached: (problem: string | null) => boolean): Promise<void> {
    const deadline = Date.now() + PATIENCE_MS;
    while (!isReached(problemOf(asked))) {
      assert.ok(Date.now() < deadline, String(problemOf(asked)));
      await sleep(20);
    }
  }

  function open(settings: Partial<NatsSettings>): NatsClient {
    client = new NatsClient({ ...good, ...settings }, () => undefined, SILENT);
    return client;
  }

  for (const scheme of ['nats', 'tls']) {
    test(`${scheme}://: it is connected, and has the streams of its account`, async () => {
      const connecting = open({ servers: [server.url.replace('nats:', `${scheme}:`)] });
      await until(connecting, (problem) => problem === null);
      const manager = await jetstreamManager(connecting.connection());
      await manager.streams.add({ name: `OF-${scheme}`, subjects: [scheme] });
      assert.ok(connecting.isConnected);
    });
  }

  test('a server that comes back is connected to again before long', async () => {
    const connecting = open({});
    await until(connecting, (problem) => problem === null);
    await server.kill();
    await until(connecting, (problem) => problem !== null);
    await sleep(AWAY_MS);
    await server.start();
    const began = Date.now();
    await until(connecting, (problem) => problem === null);
    assert.ok(Date.now() - began < 2 * AWAY_MS, `${Date.now() - began} ms`);
  });

  const refused: readonly (readonly [string, () => Partial<NatsSettings>, RegExp])[] = [
    ['a certificate of another authority', () => ({ caPath: join(directory, 'other.pem') }), /self-signed|certificate/],
    [
      'an account of nobody',
      () => ({ credentialsPath: file('bad.creds', credsOf(nkeys.createAccount())) }),
      /authoriz/i,
    ],
    ['no login', () => ({ credentialsPath: null }), /authoriz/i],
    ['a file that is none', () => ({ credentialsPath: file('x.creds', 'secret') }), /put in a \.creds file/],
    [
      'a name that is not in the certificate',
      () => ({ servers: [server.url.replace('127.0.0.1', 'localhost')] }),
      /not match certificate/,
    ],
    ['no authority', () => ({ caPath: null }), /self-signed|certificate/],
  ];
  for (const [what, settings, reason] of refused) {
    test(`${what}: the reason is told, and nothing of the login`, async () => {
      const connecting = open(settings());
      await until(connecting, (problem) => problem !== null && reason.test(problem));
      assert.doesNotMatch(problemOf(connecting) ?? '', /SU[A-Z2-7]{20}|secret/);
    });
  }

  test('a login that is mended in its file is taken, without another start', async () => {
    const path = file('mended.creds', 'secret');
    const connecting = open({ credentialsPath: path });
    await until(connecting, (problem) => /put in a \.creds file/.test(problem ?? ''));
    writeFileSync(path, readFileSync(good.credentialsPath ?? ''));
    await until(connecting, (problem) => problem === null);
  });

  test('a server that does not encrypt is not told who we are', async () => {
    const plain = await NatsServer.on(join(directory, 'plain'), { user: 'u', pass: 'p' });
    await plain.start();
    try {
      const connecting = open({ servers: [plain.url] });
      await until(connecting, (problem) => /tls|encrypt|secure/i.test(problem ?? ''));
    } finally {
      await plain.kill();
    }
  });
});
