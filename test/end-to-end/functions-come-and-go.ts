/** Functions that are added, changed and removed while the controller runs, on any VMM. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  createWorkspace,
  errorOf,
  assertNothingLeft,
  startController,
  type RunningController,
  type TestVmm,
  type Workspace,
} from '../support/snapctr.ts';

/** Of a function that tells its version and the number that it was asked with. */
export const VERSION = (version: number): string => `
import time
def handle(event):
    time.sleep(event.get("s", 0))
    return {"version": ${version}, "n": event["n"]}
def handler(event, context):
    return handle(event)
`;

/** @throws Error if it does not come about within two minutes. */
async function until(condition: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 120_000; !condition(); await sleep(20)) {
    assert.ok(Date.now() < deadline, 'it comes about within two minutes');
  }
}

export interface Answered {
  readonly version: number;
  readonly n: number;
}

/**
 * Deploys one version after the other while clients ask all the time. None may be refused, and an answer is by a version that was there
 * while its request was under way: none that was older than what had been deployed when it began.
 */
export async function deployUnderLoad(load: {
  /** Each has one request under way at any time. */
  readonly clients: number;
  /** The version that answers at the start. */
  readonly deployed: number;
  readonly deployments: number;
  /** Resolves when the version is said to be deployed. */
  deploy(version: number): Promise<void>;
  /** Throws unless it is answered. */
  ask(n: number): Promise<Answered>;
}): Promise<void> {
  let latest = load.deployed;
  let isOver = false;
  let asked = 0;
  let answered = 0;
  const client = async (): Promise<void> => {
    while (!isOver) {
      const from = latest;
      const n = (asked += 1);
      const { version, n: back } = await load.ask(n);
      assert.equal(back, n);
      // While the next one is being switched to, either may answer.
      assert.ok(version >= from && version <= latest + 1, `version ${version}, not ${from} to ${latest + 1}`);
      answered += 1;
    }
  };
  const clients = Promise.all(Array.from({ length: load.clients }, client));
  try {
    for (let version = latest + 1; version <= load.deployed + load.deployments; version += 1) {
      await Promise.race([load.deploy(version), clients]);
      latest = version;
      const before = answered;
      await Promise.race([clients, until(() => answered > before)]);
    }
  } finally {
    isOver = true;
    await clients;
  }
}

export function functionsComeAndGo(vmm: TestVmm): void {
  const snapshots = vmm !== 'process';
  /** Versions that are deployed under load; each takes the time of an image and a snapshot. */
  const deployments = vmm === 'process' ? 20 : 3;

  describe(`functions that come and go: ${vmm}`, () => {
    let workspace: Workspace;
    let controller: RunningController;
    const list = (): string => join(workspace.directory, 'functions.yaml');
    const write = (name: string, code: string): void =>
      writeFileSync(join(workspace.directory, 'apps', name, 'app.py'), code);
    let said = 0;
    /** SIGHUP, and what became of it. */
    const reload = async (): Promise<void> => {
      controller.kill('SIGHUP');
      const isOver = (line: string): boolean => /the functions are as the configuration|nothing is changed/.test(line);
      await until(() => controller.log.filter(isOver).length > said);
      said = controller.log.filter(isOver).length;
    };
    const versionOf = async (name = 'f'): Promise<unknown> => {
      const { body } = await controller.invoke(name, { n: 1 });
      return (body as { version?: number }).version ?? body;
    };

    before(async () => {
      const one = (name: string): Parameters<typeof createWorkspace>[0][number] => ({
        name,
        runtime: 'python3',
        files: { 'app.py': VERSION(0) },
        keys: { handler: 'app.handler' },
      });
      workspace = createWorkspace([one('f'), one('other')]);
      controller = await startController(workspace, { vmm, snapshots, memoryMib: 1024 });
    });
    after(async () => {
      await controller.stop();
      await assertNothingLeft(workspace);
      workspace.remove();
    });

    test('what has not changed stays: its VM is warm', async () => {
      await controller.invoke('f', { n: 1 });
      await reload();
      const answer = await controller.invoke('f', { n: 2 });
      assert.equal(answer.headers.get('x-snapfaas-start'), 'warm');
    });

    test('new code answers, and the old VMs end; a request that runs finishes on the code that it began with', async () => {
      const running = controller.invoke('f', { n: 7, s: snapshots ? 4 : 1.5 });
      await controller.until(({ vms }) => vms['f']?.busy === 1);
      write('f', VERSION(1));
      await reload();
      assert.equal(await versionOf(), 1);
      assert.deepEqual((await running).body, { version: 0, n: 7 });
      await controller.until(({ vms }) => (vms['f']?.idle ?? 0) === 1 && vms['f']?.busy === undefined);
      assert.equal(await versionOf('other'), 0);
    });

    test('a function is added and removed; requests for it are answered by what is so at the time', async () => {
      const before = readFileSync(list(), 'utf8');
      assert.equal(errorOf(await controller.invoke('new', { n: 1 }))?.code, 'function_not_found');
      writeFileSync(list(), `${before}- {name: new, runtime: python3, appfs: other, handler: app.handler}\n`);
      await reload();
      assert.equal(await versionOf('new'), 0);
      writeFileSync(list(), before);
      await reload();
      assert.equal(errorOf(await controller.invoke('new', { n: 1 }))?.code, 'function_not_found');
      await controller.until(({ vms, functions }) => vms['new'] === undefined && functions === 2);
    });

    test('a change that leaves the snapshot as it is does not wait for one', async () => {
      const before = readFileSync(list(), 'utf8');
      writeFileSync(list(), before.replace('appfs: f\n', 'appfs: f\n  timeout: 1\n'));
      const began = Date.now();
      await reload();
      // Two minutes is what a snapshot that does not come is waited for.
      assert.ok(Date.now() - began < 60_000);
      assert.equal(errorOf(await controller.invoke('f', { n: 1, s: 5 }))?.code, 'function_timeout');
      writeFileSync(list(), before);
      await reload();
    });

    test('what cannot be used changes nothing, and says so', async () => {
      const before = readFileSync(list(), 'utf8');
      for (const [text, words] of [
        ['- name: [', /nothing is changed: .*functions\.yaml/],
        [before.replace('memory: 128', 'memory: -1'), /this function stays as it was: .*memory/],
        [before.replace('appfs: f\n', 'appfs: nowhere\n'), /this function stays as it was: .*nowhere does not exist/],
      ] as const) {
        writeFileSync(list(), text);
        await reload();
        assert.match(controller.log.slice(-5).join('\n'), words);
        assert.equal(await versionOf(), 1);
      }
      // To open one that nobody writes to would last for ever.
      rmSync(list());
      execFileSync('mkfifo', [list()]);
      await reload();
      assert.match(controller.log.slice(-5).join('\n'), /nothing is changed: .*functions\.yaml: .*no regular file/);
      assert.equal(await versionOf(), 1);
      rmSync(list());
      writeFileSync(list(), before);
      await reload();
      assert.deepEqual((await controller.status()).broken, []);
    });

    test('code that does not load leaves the version before', async () => {
      write('f', 'import nothing_of_that_name\n');
      await reload();
      assert.match(controller.log.slice(-5).join('\n'), /this function stays as it was: .*nothing_of_that_name/);
      assert.equal(await versionOf(), 1);
      write('f', VERSION(1));
      await reload();
    });

    test(`${deployments} deployments under load: every request is answered, by a version that was there while it ran`, async () => {
      await deployUnderLoad({
        clients: 6,
        deployed: 1,
        deployments,
        async deploy(version) {
          write('f', VERSION(version));
          await reload();
        },
        async ask(n) {
          const answer = await controller.invoke('f', { n });
          assert.equal(answer.status, 200, answer.text);
          return answer.body as Answered;
        },
      });
      assert.equal(await versionOf(), 1 + deployments);
    });
  });
}
