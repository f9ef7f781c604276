/**
 * Runs in snapctr. The connection to the NATS servers that all event sources share:
 *
 * ```
 *   asked for ──▶ connecting ──▶ connected ◀──▶ reconnecting, by the client itself
 *                  ▲  └─ failed: after a pause     │
 *                  └───────────────────────────────┴── closed, as when credentials are refused
 * ```
 *
 * It is made when the first one asks for it, and made again for ever.
 */
import { isIP } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkServerIdentity, type ConnectionOptions as NodeTlsOptions } from 'node:tls';
import { connect, type Authenticator, type NatsConnection, type TlsOptions } from '@nats-io/transport-node';
import { messageOf } from '../../protocol/errors.ts';
import { readRegular } from '../../storage/regular-file.ts';
import type { NatsSettings } from '../config/nats.ts';
import type { Logger } from '../log.ts';
import { readCredentials } from './nats-credentials.ts';
import { pauseMs } from './pauses.ts';

const CONNECT_LIMIT_MS = 5000;
/** One that has not answered two of these is taken for dead, in ms. */
const PING_MS = 10_000;
/** How long the last acknowledgements may take to leave, in ms. */
const LAST_WORDS_MS = 1000;

/** Stands where there is no connection: why, and what to do. */
export class NotConnectedError extends Error {
  override readonly name = 'NotConnectedError';
}

export class NatsClient {
  readonly #settings: NatsSettings;
  readonly #onConnection: () => void;
  readonly #logger: Logger;
  readonly #stop = new AbortController();
  #current: NatsConnection | null = null;
  #isConnected = false;
  #problem = 'not connected yet';
  /** How often the client has dialled since it was connected last. */
  #dials = 0;
  #loop: Promise<void> | null = null;

  /** @param onConnected is called for the first connection, and for each that takes its place. */
  constructor(settings: NatsSettings, onConnected: () => void, logger: Logger) {
    this.#settings = settings;
    this.#onConnection = onConnected;
    this.#logger = logger;
  }

  /** What is published now leaves now; else it waits, or is lost. */
  get isConnected(): boolean {
    return this.#isConnected;
  }

  /** @throws NotConnectedError while there is none; it is being made then. */
  connection(): NatsConnection {
    this.#loop ??= this.#keepConnected();
    if (this.#current !== null && this.#isConnected) return this.#current;
    throw new NotConnectedError(`no connection to ${this.#settings.servers.join(', ')}: ${this.#problem}`);
  }

  /** What was published has left by then, if the server takes it. */
  async close(): Promise<void> {
    this.#stop.abort();
    const connection = this.#current;
    if (connection === null) return;
    if (this.#isConnected) {
      const limit = sleep(LAST_WORDS_MS, undefined, { ref: false });
      await Promise.race([connection.flush().catch(() => undefined), limit]);
    }
    await connection.close();
  }

  #isClosed(): boolean {
    return this.#stop.signal.aborted;
  }

  async #keepConnected(): Promise<void> {
    const { signal } = this.#stop;
    for (let failures = 0; !this.#isClosed(); failures += 1) {
      try {
        const connection = await this.#connect();
        if (this.#isClosed()) return await connection.close();
        failures = 0;
        this.#current = connection;
        this.#onConnected(connection.getServer());
        void this.#watch(connection);
        const error = await connection.closed();
        this.#onDisconnected(error === undefined ? 'the connection was closed' : messageOf(error));
      } catch (error) {
        this.#onDisconnected(messageOf(error));
      }
      this.#current = null;
      await sleep(pauseMs(failures), undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  async #connect(): Promise<NatsConnection> {
    const { servers, credentialsPath, caPath } = this.#settings;
    // Read each time: whoever changes them need not start snapctr again.
    const authenticator = credentialsPath === null ? null : await readCredentials(credentialsPath);
    const tls: TlsOptions & Pick<NodeTlsOptions, 'checkServerIdentity'> = {
      checkServerIdentity: identityCheckOf(servers),
      ...(caPath === null ? {} : { ca: (await readRegular(caPath)).toString() }),
    };
    // With it a server that does not encrypt is refused, before it is told who we are.
    const isEncrypted = caPath !== null || servers.some((url) => url.startsWith('tls://'));
    return connect({
      servers: [...servers],
      name: 'snapctr',
      timeout: CONNECT_LIMIT_MS,
      maxReconnectAttempts: -1,
      // Asked for before each look at the time, and not once for each try.
      reconnectDelayHandler: () => pauseMs(Math.max(0, this.#dials - 1)),
      pingInterval: PING_MS,
      maxPingOut: 2,
      noAsyncTraces: true,
      ...(authenticator === null ? {} : { authenticator: authenticator satisfies Authenticator }),
      ...(isEncrypted ? { tls } : {}),
    });
  }

  async #watch(connection: NatsConnection): Promise<void> {
    for await (const status of connection.status()) {
      if (status.type === 'disconnect') this.#onDisconnected('the server is away');
      else if (status.type === 'reconnecting') this.#dials += 1;
      else if (status.type === 'reconnect') this.#onConnected(status.server);
      else if (status.type === 'error') this.#logger.debug(`NATS: ${messageOf(status.error)}`);
    }
  }

  #onConnected(server: string): void {
    this.#isConnected = true;
    this.#dials = 0;
    this.#logger.info({ server }, 'connected to NATS');
    this.#onConnection();
  }

  #onDisconnected(problem: string): void {
    if (this.#stop.signal.aborted) return;
    if (this.#isConnected || this.#problem !== problem) {
      this.#logger.warn(`no connection to NATS: ${problem}; it is tried again`);
    }
    this.#isConnected = false;
    this.#problem = problem;
  }
}

/**
 * Of an address the client tells Node no name, and Node then looks for `localhost` in the certificate: here any of the addresses may
 * be in it, as the servers are those of one cluster.
 */
function identityCheckOf(servers: readonly string[]): NonNullable<NodeTlsOptions['checkServerIdentity']> {
  const hosts = servers.map((url) => new URL(url).hostname.replace(/^\[|\]$/g, ''));
  const addresses = hosts.filter((host) => isIP(host) > 0);
  return (host, certificate) => {
    const isAddress = host === 'localhost' && !hosts.includes(host);
    const names = isAddress && addresses.length > 0 ? addresses : [host];
    const problems = names.map((name) => checkServerIdentity(name, certificate));
    return problems.includes(undefined) ? undefined : problems[0];
  };
}
