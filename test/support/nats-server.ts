/** A NATS server with JetStream, as Debian has it: on a port of its own of the loopback, with its files in a directory. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type ConnectionOptions, type NatsConnection } from '@nats-io/transport-node';
import { jetstreamManager } from '@nats-io/jetstream';
import { whyWithout } from './needed-program.ts';

const PATIENCE_MS = 30_000;

/** Why tests with a server are skipped; false: they are not. */
export const NO_NATS = whyWithout('nats-server', 'nats-server');

interface Login {
  readonly user?: string;
  readonly pass?: string;
}

/** Of a server that asks for more than a password. */
export interface ServerRules {
  /** What its configuration file has on top. */
  readonly configuration: string;
  /** With which it lets the tests in. */
  readonly options: ConnectionOptions;
}

export class NatsServer {
  readonly url: string;
  readonly login: Login;
  readonly #argv: readonly string[];
  readonly #options: ConnectionOptions;
  #process: ChildProcess | null = null;

  private constructor(port: number, directory: string, login: Login, rules: ServerRules | null) {
    const account = login.user === undefined ? [] : ['--user', login.user, '--pass', login.pass ?? ''];
    const file = join(directory, 'nats.conf');
    if (rules !== null) writeFileSync(file, rules.configuration);
    const more = [...account, ...(rules === null ? [] : ['-c', file])];
    this.url = `nats://127.0.0.1:${port}`;
    this.login = login;
    this.#argv = ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', join(directory, 'nats'), ...more];
    this.#options = { ...login, ...rules?.options };
  }

  /** It is not started yet. */
  static async on(directory: string, login: Login = {}, rules: ServerRules | null = null): Promise<NatsServer> {
    const probe = createServer().listen(0, '127.0.0.1');
    await once(probe, 'listening');
    const { port } = probe.address() as AddressInfo;
    probe.close();
    await once(probe, 'close');
    return new NatsServer(port, directory, login, rules);
  }

  /** Resolves when it takes connections. */
  async start(): Promise<void> {
    this.#process = spawn('nats-server', this.#argv, { stdio: 'ignore' });
    const connection = await this.connect();
    await connection.close();
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#process;
    if (child === null) return;
    this.#process = null;
    const gone = once(child, 'exit');
    child.kill(signal);
    await gone;
  }

  signal(signal: NodeJS.Signals): void {
    this.#process?.kill(signal);
  }

  async connect(): Promise<NatsConnection> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      try {
        return await connect({ servers: this.url, ...this.#options, timeout: 2000 });
      } catch (error) {
        if (Date.now() > deadline) throw error;
        await sleep(50);
      }
    }
  }

  async addStream(name: string, subjects: readonly string[]): Promise<void> {
    const connection = await this.connect();
    try {
      const manager = await jetstreamManager(connection, { timeout: PATIENCE_MS });
      await manager.streams.add({ name, subjects: [...subjects] });
    } finally {
      await connection.close();
    }
  }
}
