/** Peers of which an instance is a program that listens on a port. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../test/support/free-port.ts';
import { Client } from '../support/client.ts';
import { dependenciesOf } from './installed.ts';
import { checkAnswer, type Peer, type Running, type Target } from './peer.ts';
import type { Workload } from './workloads.ts';

/** Between two tries whether a program listens: less than what is told apart, and seldom enough not to disturb it. */
const POLL_MS = 2;
const START_LIMIT_MS = 30_000;
const CONNECTIONS = 8;

export interface Command {
  readonly argv: readonly [string, ...string[]];
  readonly environment?: Readonly<Record<string, string>>;
  /** Where it runs; default: where this process does. */
  readonly directory?: string;
  /** How it ends, beside being killed. */
  end?(): Promise<unknown>;
}

/** How an instance of a workload is started. */
export interface Started {
  command(port: number): Command | Promise<Command>;
  /** What it made beside its instances. */
  remove?(): void;
}

export interface Server {
  readonly name: string;
  readonly languages: readonly Workload['language'][];
  /** Default: `/`. */
  readonly path?: string;
  /** Requests that it takes at a time; default: as many as are sent. */
  readonly connections?: number;
  /** Why it cannot run here; false: it can. */
  whyNot?(): string | false;
  /**
   * Installs what it needs.
   * @param place a directory of its own with the module `measured` and what that imports: `node_modules`, or `lib` for Python.
   */
  prepare(workload: Workload, place: string): Promise<Started>;
}

export function serverPeer(server: Server): Peer {
  return {
    name: server.name,
    whyNot: ({ language }) =>
      server.languages.includes(language) ? (server.whyNot?.() ?? false) : `not for ${language}`,
    async open(workload) {
      const place = mkdtempSync(join(tmpdir(), 'snapfaas-peer-'));
      try {
        await provide(workload, place);
        return new Servers(server, workload, await server.prepare(workload, place), place);
      } catch (error) {
        rmSync(place, { recursive: true });
        throw error;
      }
    },
  };
}

/** The module `measured`, and what it imports. */
async function provide(workload: Workload, place: string): Promise<void> {
  const isPython = workload.language === 'python3';
  writeFileSync(join(place, `measured.${isPython ? 'py' : 'js'}`), workload.source);
  if (Object.keys(workload.dependencies).length === 0) return;
  const packages = await dependenciesOf(workload);
  const [from, to] = isPython ? [packages, 'lib'] : [join(packages, 'node_modules'), 'node_modules'];
  cpSync(from, join(place, to), { recursive: true, verbatimSymlinks: true });
}

class Servers implements Running {
  readonly #server: Server;
  readonly #workload: Workload;
  readonly #started: Started;
  readonly #place: string;
  readonly #held: Instance[] = [];

  constructor(server: Server, workload: Workload, started: Started, place: string) {
    this.#server = server;
    this.#workload = workload;
    this.#started = started;
    this.#place = place;
  }

  async start(): Promise<number> {
    const { instance, tookMs } = await this.#launch();
    await instance.end();
    return tookMs;
  }

  async hold(instances: number): Promise<void> {
    while (this.#held.length < instances) this.#held.push((await this.#launch()).instance);
  }

  target(): Target {
    const [instance] = this.#held;
    if (instance === undefined) throw new Error(`no instance of ${this.#server.name} is held`);
    const connections = this.#server.connections ?? CONNECTIONS;
    return { url: instance.url, body: JSON.stringify(this.#workload.event), connections, pid: instance.pid };
  }

  async close(): Promise<void> {
    await Promise.all(this.#held.map((instance) => instance.end()));
    this.#started.remove?.();
    rmSync(this.#place, { recursive: true });
  }

  async #launch(): Promise<{ readonly instance: Instance; readonly tookMs: number }> {
    const port = await freePort();
    const command = await this.#started.command(port);
    const began = performance.now();
    const instance = new Instance(command, `http://127.0.0.1:${port}${this.#server.path ?? '/'}`);
    const client = new Client(instance.url);
    try {
      for (;;) {
        // It may have a part that listens before the whole does.
        const answer = await client.post(JSON.stringify(this.#workload.event)).catch(() => null);
        if (answer !== null) {
          const tookMs = performance.now() - began;
          checkAnswer(this.#workload, answer.status, answer.text);
          return { instance, tookMs };
        }
        if (performance.now() - began > START_LIMIT_MS) throw new Error(`${this.#server.name} did not answer`);
        instance.check();
        await sleep(POLL_MS);
      }
    } catch (error) {
      await instance.end();
      throw error;
    } finally {
      client.close();
    }
  }
}

/** Those that would stay if this process ended in a hurry. */
const instances = new Set<Instance>();
process.once('exit', () => instances.forEach((instance) => instance.kill()));

class Instance {
  readonly url: string;
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #command: Command;
  readonly #ended: Promise<unknown>;
  #stderr = '';

  constructor(command: Command, url: string) {
    const [program, ...args] = command.argv;
    // In a group of its own, as some start workers.
    const child = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
      cwd: command.directory,
      env: { ...process.env, ...command.environment },
    });
    child.stderr.on('data', (chunk: Buffer) => (this.#stderr = (this.#stderr + chunk.toString()).slice(-2000)));
    this.#ended = Promise.race([once(child, 'exit'), once(child, 'error')]);
    this.#child = child;
    this.#command = command;
    this.url = url;
    this.pid = child.pid ?? 0;
    instances.add(this);
  }

  /** @throws Error if it has ended. */
  check(): void {
    if (this.#child.exitCode === null && this.#child.signalCode === null) return;
    throw new Error(`${this.#command.argv.join(' ')} ended: ${this.#stderr}`);
  }

  async end(): Promise<void> {
    await this.#command.end?.();
    this.kill();
    await this.#ended;
    instances.delete(this);
  }

  kill(): void {
    try {
      process.kill(-this.pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  }
}
