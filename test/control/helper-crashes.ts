/**
 * firerunner and the builder are killed while functions are deployed: at moments that a seed tells, so at any step. snapctr goes on:
 * the version before serves, the deployment comes to an end that is told, and can be tried again; nothing is left over.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as sdk from '@aws-sdk/client-lambda';
import { removeUnusedApps } from '../../src/images/app-retention.ts';
import { makeZip } from '../packages/zip.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import { seeded } from '../../src/workload/random.ts';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  startController,
  type RunningController,
  type TestVmm,
} from '../support/snapctr.ts';

export interface HelperCrashes {
  readonly vmm: TestVmm;
  readonly rounds: number;
  /** From a change to the kill at most, in ms: a deployment takes about as long. */
  readonly longestMs: number;
  readonly snapshots: boolean;
  /** Whose programs are killed; without a word, both. */
  readonly victims?: readonly Victim[];
}

type Victim = 'builder' | 'firerunner';

const Role = 'arn:aws:iam::000000000000:role/any';
/** With two losses, their pauses, and a machine that is busy with other tests, in ms. */
const DEPLOYMENT_MS = 120_000;
const NAMES = ['a', 'b'];
/** What a request may be told while its VM, or who starts VMs, is killed. */
const LOSSES = ['vm_lost', 'vm_launch_failed', 'function_error'];

/** Of a function: what it answers, and how many versions were published; null: there is none. */
type Essence = { readonly text: string; readonly published: number } | null;

function packageOf(text: string, isBroken = false): Buffer {
  const lines = [isBroken ? 'import nothing_of_this_name' : '', 'def handle(event, context):', `    return "${text}"`];
  return makeZip([{ name: 'main.py', data: lines.join('\n') }]);
}

function pidOf(snapctr: number, victim: Victim): number | undefined {
  const children = readFileSync(`/proc/${snapctr}/task/${snapctr}/children`, 'utf8').trim().split(' ').map(Number);
  return children.find((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`bin/${victim}.js`);
    } catch {
      return false;
    }
  });
}

class Rounds {
  readonly #controller: RunningController;
  readonly #client: sdk.LambdaClient;
  readonly #states = new Map<string, Essence>();
  /** How rounds ended, for people. */
  readonly ends: Record<string, number> = {};

  constructor(controller: RunningController) {
    this.#controller = controller;
    this.#client = lambdaClient(controller.url, { maxAttempts: 1 });
  }

  close(): void {
    this.#client.destroy();
  }

  async run(seed: number, { longestMs, victims = ['builder', 'firerunner'] }: HelperCrashes): Promise<void> {
    const random = seeded(seed);
    const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T;
    const name = pick(NAMES);
    const victim = pick(victims);
    const before = this.#states.get(name) ?? null;
    const isBroken = before !== null && random() < 0.2;
    const isPublished = random() < 0.3;
    const kills = random() < 0.25 ? 2 : 1;
    const text = `text of ${seed}`;
    const deploy = (broken: boolean): Promise<unknown> => this.#deploy(name, packageOf(text, broken), isPublished);

    const kill = async (): Promise<void> => {
      for (let killed = 0; killed < kills; killed += 1) {
        await sleep(random() * longestMs);
        const pid = pidOf(this.#controller.pid, victim);
        if (pid !== undefined) process.kill(pid, 'SIGKILL');
      }
    };
    const killed = kill();
    await deploy(isBroken);
    const asking = new AbortController();
    const asked = before === null ? null : this.#ask(name, [before.text, text], asking.signal);
    let end = await this.#end(name);
    await killed;
    asking.abort();
    await asked;
    const key = `${victim} ${kills}× ${isBroken ? 'broken ' : ''}${end.isDeployed ? 'deployed' : (end.code ?? '')}`;
    this.ends[key] = (this.ends[key] ?? 0) + 1;
    if (isBroken) assert.ok(!end.isDeployed, 'code that does not load is not deployed');
    if (!end.isDeployed) {
      assert.notEqual(end.reason ?? '', '', 'a deployment that fails has a reason');
      if (before !== null) assert.equal(await this.#answer(name), before.text);
      await deploy(false);
      end = await this.#end(name);
      assert.ok(end.isDeployed, `tried again, it is deployed: ${end.reason}`);
    }
    assert.equal(await this.#answer(name), text);
    const published = (before?.published ?? 0) + (isPublished ? 1 : 0);
    this.#states.set(name, { text, published });
    await this.check(this.#client);
  }

  /** What was acknowledged is there. */
  async check(client: sdk.LambdaClient): Promise<void> {
    const { Functions = [] } = await client.send(new sdk.ListFunctionsCommand({}));
    assert.deepEqual(Functions.map(({ FunctionName }) => FunctionName).sort(), [...this.#states.keys()].sort());
    for (const [FunctionName, essence] of this.#states) {
      const { Versions = [] } = await client.send(new sdk.ListVersionsByFunctionCommand({ FunctionName }));
      assert.equal(Versions.length, 1 + (essence?.published ?? 0), `versions of ${FunctionName}`);
    }
  }

  get names(): readonly string[] {
    return [...this.#states.keys()];
  }

  async answersAgain(controller: RunningController): Promise<void> {
    for (const [name, essence] of this.#states) {
      const { body } = await controller.invoke(name, {});
      assert.equal(body, essence?.text);
    }
  }

  /** A function that was never deployed is made, any other is changed; a published one twice is published once. */
  async #deploy(FunctionName: string, ZipFile: Buffer, Publish: boolean): Promise<unknown> {
    const there = await this.#client.send(new sdk.GetFunctionConfigurationCommand({ FunctionName })).catch(() => null);
    if (there !== null) return this.#client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile, Publish }));
    const settings = { Role, Runtime: 'python3.11', Handler: 'main.handle', Timeout: 30, Publish } as const;
    return this.#client.send(new sdk.CreateFunctionCommand({ FunctionName, Code: { ZipFile }, ...settings }));
  }

  async #end(FunctionName: string): Promise<{ isDeployed: boolean; reason?: string; code?: string }> {
    const deadline = Date.now() + DEPLOYMENT_MS;
    for (;;) {
      const now = await this.#client.send(new sdk.GetFunctionConfigurationCommand({ FunctionName }));
      if (now.State === 'Failed') {
        return { isDeployed: false, reason: now.StateReason ?? '', code: now.StateReasonCode ?? '' };
      }
      if (now.LastUpdateStatus === 'Failed') {
        const { LastUpdateStatusReason: reason = '', LastUpdateStatusReasonCode: code = '' } = now;
        return { isDeployed: false, reason, code };
      }
      if (now.State === 'Active' && now.LastUpdateStatus === 'Successful') return { isDeployed: true };
      assert.ok(Date.now() < deadline, `the deployment ends: ${JSON.stringify(now)}`);
      await sleep(20);
    }
  }

  /** Requests meanwhile get one of the two versions, or are told of a loss. */
  async #ask(name: string, texts: readonly string[], signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const answer = await this.#controller.invoke(name, {});
      const error = errorOf(answer);
      if (error === undefined) assert.ok(texts.includes(String(answer.body)), answer.text);
      else assert.ok(LOSSES.includes(error.code), answer.text);
      await sleep(20);
    }
  }

  /** As soon as there is a firerunner again. */
  async #answer(name: string): Promise<unknown> {
    const deadline = Date.now() + DEPLOYMENT_MS;
    for (;;) {
      const answer = await this.#controller.invoke(name, {});
      const error = errorOf(answer);
      if (error === undefined) return answer.body;
      assert.ok(['vm_lost', 'vm_launch_failed'].includes(error.code) && Date.now() < deadline, answer.text);
      await sleep(50);
    }
  }
}

/** Names that a program makes for itself and takes away again. */
function half(directory: string): readonly string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /(^|\/)\.?snapfaas-\w+-/.test(name),
  );
}

export function describeHelperCrashes(options: HelperCrashes): void {
  const rounds = Number(process.env['SNAPFAAS_CRASH_ROUNDS'] ?? options.rounds);
  const first = Number(process.env['SNAPFAAS_CRASH_SEED'] ?? Math.floor(Math.random() * 1e9));
  const title = `firerunner and the builder are killed while functions are deployed, ${rounds} times (${options.vmm}, seed ${first})`;
  test(title, { timeout: 120_000 + rounds * DEPLOYMENT_MS }, async (t) => {
    const workspace = createWorkspace([]);
    const data = join(workspace.directory, 'data');
    const cache = join(workspace.directory, 'cache');
    const { vmm, snapshots } = options;
    const start = (): Promise<RunningController> =>
      startController(workspace, {
        vmm,
        snapshots,
        args: ['--data-dir', data],
        env: { XDG_CACHE_HOME: cache, TMPDIR: workspace.directory },
      });
    let controller = await start();
    const all = new Rounds(controller);
    try {
      for (let round = 0; round < rounds; round += 1) {
        await all.run(first + round, options).catch((error: unknown) => {
          throw new Error(`round ${round}, seed ${first + round}\n${controller.log.slice(-30).join('\n')}`, {
            cause: error,
          });
        });
      }
      t.diagnostic(JSON.stringify(all.ends));
      await controller.stop();
      await assertNothingLeft(workspace);
      controller = await start();
      await all.answersAgain(controller);
      const client = lambdaClient(controller.url);
      await all.check(client);
      client.destroy();
    } finally {
      all.close();
      await controller.stop();
    }
    await assertNothingLeft(workspace);
    assert.deepEqual(readdirSync(join(data, 'functions')).sort(), all.names.map((name) => `${name}.json`).sort());
    // What was built is there, and is swept when what nobody needs is removed.
    const generous = { maxBytes: Number.MAX_SAFE_INTEGER, maxAgeMs: Number.MAX_SAFE_INTEGER };
    await removeUnusedApps(join(cache, 'snapfaas', 'apps'), generous, new AbortController().signal);
    for (const directory of [data, cache, workspace.runDirectory]) assert.deepEqual(half(directory), [], directory);
    const temporary = readdirSync(workspace.directory).filter((name) => name.startsWith('snapfaas-builder-'));
    assert.deepEqual(temporary, []);
    workspace.remove();
  });
}
