/** Requests that find no VM that has served before, timed from the client's side. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  createWorkspace,
  startController,
  type RunningController,
  type Workspace,
} from '../../test/support/snapctr.ts';
import { Client } from './client.ts';
import { EVENT, EXIT_EVENT, EXPECTED, testFunction, type Measured } from './hello.ts';

/** What is started in the place of what was used has been started then, in ms. */
const SETTLE_MS = 300;

export interface StartOptions {
  readonly memory?: number;
  /** Launch VMs ahead of the requests. */
  readonly ahead?: boolean;
  readonly snapshots?: boolean;
  /** QEMUs that wait for a machine; undefined: by default. */
  readonly prestarted?: number;
}

/** A controller with one function, whose VM is ended after each request. */
export class StartBench {
  readonly workspace: Workspace;
  readonly #controller: RunningController;
  readonly #client: Client;
  readonly #options: StartOptions;

  private constructor(workspace: Workspace, controller: RunningController, options: StartOptions) {
    this.workspace = workspace;
    this.#controller = controller;
    this.#client = new Client(controller.url);
    this.#options = options;
  }

  static async open(measured: Measured, options: StartOptions = {}): Promise<StartBench> {
    const memory = options.memory ?? 128;
    const standby = options.ahead === true ? memory : 0;
    const workspace = createWorkspace(
      [testFunction('measured', measured, memory)],
      [
        `standby: ${standby}`,
        ...(options.prestarted === undefined ? [] : [`qemu: { prestarted: ${options.prestarted} }`]),
      ],
    );
    lockPackages(workspace, measured);
    const controller = await startController(workspace, {
      vmm: 'qemu',
      memoryMib: memory,
      snapshots: options.snapshots ?? true,
    });
    return new StartBench(workspace, controller, options);
  }

  /** One request on a VM that nobody has used, in ms. */
  async start(): Promise<number> {
    const controller = this.#controller;
    await sleep(SETTLE_MS);
    if (this.#options.ahead === true) await controller.until(({ standby }) => standby.vms === 1, 30_000);
    const answer = await this.#client.invoke('measured', EVENT);
    if (answer.text !== JSON.stringify(EXPECTED)) throw new Error(`wrong answer: ${answer.text}`);
    const kind = this.#options.snapshots === false ? 'cold' : 'restored';
    if (answer.start !== kind) throw new Error(`the start was not ${kind}`);
    await this.#client.invoke('measured', EXIT_EVENT);
    return answer.tookMs;
  }

  async close(): Promise<void> {
    this.#client.close();
    await this.#controller.stop();
    this.workspace.remove();
  }
}

/** npm packages are staged from a lock file. */
function lockPackages(workspace: Workspace, { files }: Measured): void {
  if (files['package.json'] === undefined) return;
  const directory = join(workspace.directory, 'apps', 'measured');
  execFileSync('npm', ['install', '--package-lock-only', '--no-audit', '--no-fund'], {
    cwd: directory,
    stdio: 'ignore',
  });
}

/** Alternates between ways to start, so that what disturbs one disturbs the other: `rounds` samples of each. */
export async function sideBySide(
  rounds: number,
  ways: Readonly<Record<string, () => Promise<number>>>,
): Promise<Readonly<Record<string, number[]>>> {
  const samples: Record<string, number[]> = Object.fromEntries(Object.keys(ways).map((name) => [name, []]));
  for (let round = 0; round <= rounds; round += 1) {
    for (const [name, measure] of Object.entries(ways)) {
      const took = await measure();
      // The first round warms the page cache.
      if (round > 0) samples[name]?.push(took);
    }
  }
  return samples;
}
