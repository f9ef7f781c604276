/** SnapFaaS itself: an instance is a VM of a function, or with the `process` driver a process. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  createWorkspace,
  startController,
  type RunningController,
  type TestFunction,
  type Workspace,
} from '../../test/support/snapctr.ts';
import { Client } from '../support/client.ts';
import { dependenciesOf } from './installed.ts';
import { checkAnswer, type Peer, type Running, type Target } from './peer.ts';
import type { Workload } from './workloads.ts';

const FUNCTION = 'measured';
const MEMORY_MIB = 128;
const CONNECTIONS = 8;
/** Long enough for all instances to be started beside each other, in s. */
const SLEEP_S = 4;
const HELD_LIMIT_MS = 60_000;

/** What the workload knows nothing of: the end of an instance, and time in which another one is needed. */
const WRAPPERS = {
  python3: `import os, time
import measured

def handle(event):
    what = event.pop('do', None)
    if what == 'exit':
        os._exit(0)
    if what == 'sleep':
        time.sleep(${SLEEP_S})
    return measured.handle(event)
`,
  nodejs: `const { handle } = require('./measured');
exports.handle = async (event) => {
  if (event.do === 'exit') process.exit(0);
  if (event.do === 'sleep') await new Promise((resolve) => setTimeout(resolve, ${SLEEP_S * 1000}));
  delete event.do;
  return handle(event);
};
`,
} as const;

export interface SnapfaasOptions {
  readonly vmm: 'process' | 'qemu';
  /** Launches VMs ahead of the requests. */
  readonly ahead?: boolean;
  /** Of all VMs. */
  readonly instances: number;
}

export function snapfaasPeer(name: string, options: SnapfaasOptions): Peer {
  return {
    name,
    whyNot: () => false,
    async open(workload) {
      const standby = options.ahead === true ? MEMORY_MIB : 0;
      const workspace = createWorkspace([await functionOf(workload)], [`standby: ${standby}`]);
      const controller = await startController(workspace, {
        vmm: options.vmm,
        memoryMib: options.instances * MEMORY_MIB,
        snapshots: options.vmm !== 'process',
        args: ['--log-level', 'error'],
      });
      return new Snapfaas(workload, options, workspace, controller);
    },
  };
}

async function functionOf(workload: Workload): Promise<TestFunction> {
  const { language, source, dependencies } = workload;
  const keys = { memory: MEMORY_MIB };
  if (language === 'python3') {
    const requirements = Object.entries(dependencies).map(([name, version]) => `${name}==${version}\n`);
    const files = { 'workload.py': WRAPPERS.python3, 'measured.py': source, 'requirements.txt': requirements.join('') };
    return { name: FUNCTION, runtime: language, files, keys };
  }
  const locked = Object.keys(dependencies).length === 0 ? [] : ['package.json', 'package-lock.json'];
  const packages = locked.length === 0 ? '' : await dependenciesOf(workload);
  const files = {
    ...{ 'workload.js': WRAPPERS.nodejs, 'measured.js': source },
    ...Object.fromEntries(locked.map((name) => [name, readFileSync(join(packages, name))])),
  };
  return { name: FUNCTION, runtime: language, files, keys };
}

class Snapfaas implements Running {
  readonly #workload: Workload;
  readonly #options: SnapfaasOptions;
  readonly #workspace: Workspace;
  readonly #controller: RunningController;
  readonly #client: Client;

  constructor(workload: Workload, options: SnapfaasOptions, workspace: Workspace, controller: RunningController) {
    this.#workload = workload;
    this.#options = options;
    this.#workspace = workspace;
    this.#controller = controller;
    this.#client = new Client(controller.url);
  }

  async start(): Promise<number> {
    await this.#launchedAhead();
    const answer = await this.#client.invoke(FUNCTION, this.#workload.event);
    checkAnswer(this.#workload, answer.status, answer.text);
    const kind = this.#options.vmm === 'process' ? 'cold' : 'restored';
    if (answer.start !== kind) throw new Error(`the start was ${answer.start}, not ${kind}`);
    await this.#client.invoke(FUNCTION, { do: 'exit' });
    // The next launch would take its time from what is measured next.
    await this.#launchedAhead();
    return answer.tookMs;
  }

  async hold(instances: number): Promise<void> {
    const event = { ...this.#workload.event, do: 'sleep' };
    const busy = Array.from({ length: instances }, () => this.#controller.invoke(FUNCTION, event));
    await this.#controller.until(({ vms }) => vms[FUNCTION]?.busy === instances, HELD_LIMIT_MS);
    for (const answer of await Promise.all(busy)) checkAnswer(this.#workload, answer.status, answer.text);
  }

  target(): Target {
    const body = JSON.stringify({ function: FUNCTION, payload: this.#workload.event });
    return { url: `${this.#controller.url}/`, body, connections: CONNECTIONS, pid: this.#controller.pid };
  }

  async close(): Promise<void> {
    this.#client.close();
    await this.#controller.stop();
    this.#workspace.remove();
  }

  async #launchedAhead(): Promise<void> {
    if (this.#options.ahead !== true) return;
    await this.#controller.until(({ standby }) => standby.vms === 1, HELD_LIMIT_MS);
  }
}
