/** What can go wrong with snapshots: requests are answered all the same, and never from a wrong one. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { source } from '../support/functions.ts';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  run,
  SNAPCTR,
  startController,
  TEST_SNAPSHOTS,
  type RunningController,
  type TestFunction,
  type Workspace,
} from '../support/snapctr.ts';
import { damage, DAMAGES, fileOf, layerOf, layersIn, logged, startOf, unfinishedIn } from '../support/snapshots.ts';
import { until } from './processes.ts';

const ECHO: TestFunction = source('echo', 'python3', 'def handle(request):\n    return request\n');

/** Waits until each function's snapshot is ready or has failed. */
async function settled(controller: RunningController): Promise<void> {
  await controller.until(({ snapshots }) => snapshots.preparing === 0, 60_000);
}

async function assertEchoes(controller: RunningController, start: string): Promise<void> {
  const answer = await controller.invoke('echo', { n: 1 });
  assert.deepEqual([answer.status, answer.body, startOf(answer)], [200, { n: 1 }, start], answer.text);
}

/** Those of other tests, for the sake of time; their locks come and go. */
function copyBaseLayers(store: string): void {
  const bases = layersIn(TEST_SNAPSHOTS, 'base');
  for (const name of bases) cpSync(join(TEST_SNAPSHOTS, name), join(store, name), { recursive: true });
}

describe('damaged layers', { timeout: 240_000 }, () => {
  let workspace: Workspace;
  let store: string;
  let base: string;
  let layer: string;

  before(async () => {
    workspace = createWorkspace([ECHO], ['snapshot_dir: store']);
    store = join(workspace.directory, 'store');
    const controller = await startController(workspace, { vmm: 'qemu', snapshots: true });
    layer = layerOf(controller, 'echo');
    base = layersIn(store, 'base')[0] ?? '';
    assert.equal(await controller.stop(), 0);
    cpSync(store, `${store}-whole`, { recursive: true });
  });

  after(async () => {
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  /** Starts on the damaged store, and checks that the layers are whole afterwards. */
  const isMended = async (): Promise<void> => {
    const controller = await startController(workspace, { vmm: 'qemu', snapshots: true });
    try {
      await assertEchoes(controller, 'restored');
    } finally {
      assert.equal(await controller.stop(), 0);
    }
    const { status, stdout } = await run(SNAPCTR, ['snapshots', 'verify', '--dir', store], { workspace });
    assert.equal(status, 0, stdout);
  };

  for (const file of ['state', 'index', 'pages', 'manifest.json']) {
    test(`a function layer whose ${file} is damaged is made again`, async () => {
      for (const how of DAMAGES) {
        const before = readFileSync(fileOf(store, layer, 'manifest.json'));
        damage(fileOf(store, layer, file), how);
        await isMended();
        assert.notDeepEqual(readFileSync(fileOf(store, layer, 'manifest.json')), before, `${file} ${how}`);
      }
    });
  }

  test('a damaged base layer is made again, and the function layers on it', async () => {
    for (const file of ['state', 'pages']) {
      damage(fileOf(store, base, file), 'flipped');
      await isMended();
    }
  });

  test('layers of another version, and garbage in their place, are replaced', async () => {
    const manifest = fileOf(store, layer, 'manifest.json');
    writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('"format": 1', '"format": 0'));
    await isMended();
    rmSync(join(store, layer), { recursive: true });
    mkdirSync(join(store, layer));
    writeFileSync(join(store, layer, 'garbage'), 'no layer');
    await isMended();
    rmSync(join(store, layer), { recursive: true });
    writeFileSync(join(store, layer), 'not even a directory');
    await isMended();
  });
});

describe('stores that cannot be used', { timeout: 120_000 }, () => {
  const skip = process.getuid?.() === 0 ? false : 'only root can mount a file system';

  for (const [what, options, words] of [
    ['full', 'size=1m', /no space/],
    ['read-only', 'ro,size=1m', /read-only/],
  ] as const) {
    test(`with a ${what} snapshot_dir VMs are booted, and the log says why once`, { skip }, async () => {
      const workspace = createWorkspace([ECHO], ['snapshot_dir: store']);
      const store = join(workspace.directory, 'store');
      mkdirSync(store);
      const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', store], { encoding: 'utf8' });
      assert.equal(mounted.status, 0, mounted.stderr);
      try {
        const controller = await startController(workspace, { vmm: 'qemu', snapshots: true });
        try {
          await assertEchoes(controller, 'cold');
          await assertEchoes(controller, 'warm');
          assert.equal((await controller.status()).snapshots.failed, 1);
          const told = logged(controller, 'cold start without the snapshot');
          assert.equal(told.length, 1);
          assert.match(String(told[0]?.['reason']), words);
        } finally {
          assert.equal(await controller.stop(), 0);
        }
      } finally {
        spawnSync('umount', [store]);
      }
      await assertNothingLeft(workspace);
      workspace.remove();
    });
  }

  test('a snapshot_dir that is removed meanwhile is not missed by what was prepared', async () => {
    const workspace = createWorkspace([ECHO], ['snapshot_dir: store']);
    const store = join(workspace.directory, 'store');
    copyBaseLayers(store);
    const controller = await startController(workspace, { vmm: 'qemu', memoryMib: 128, snapshots: true });
    rmSync(store, { recursive: true });
    await assertEchoes(controller, 'restored');
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });
});

describe('builders that are killed', { timeout: 240_000 }, () => {
  let workspace: Workspace;
  let store: string;
  let count = 0;

  beforeEach(() => {
    workspace = createWorkspace([ECHO], ['snapshot_dir: store']);
    store = join(workspace.directory, 'store');
    // The base layer is there; the function is a new one each time.
    copyBaseLayers(store);
    writeFileSync(join(workspace.directory, 'apps/echo/version.txt'), `${(count += 1)} ${Date.now()}`);
  });

  afterEach(async () => {
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  const assertClean = async (): Promise<void> => {
    assert.deepEqual(unfinishedIn(store), []);
    const { status, stdout } = await run(SNAPCTR, ['snapshots', 'verify', '--dir', store], { workspace });
    assert.equal(status, 0, stdout);
  };

  /** Moments of a build: what is in the store, or how much time has passed since it began, in ms. */
  for (const delay of [0, 150, 400, 700, 900]) {
    test(`firerunner, ${delay} ms after a build began: the next one makes the layer`, async () => {
      const controller = await startController(workspace, { vmm: 'qemu', snapshots: 'being made' });
      try {
        const isBuilding = (): boolean => unfinishedIn(store).some((name) => name.startsWith('.snapfaas-build-'));
        await until('the build begins', isBuilding, 20_000);
        await new Promise((resolve) => setTimeout(resolve, delay));
        const { runner_pid: pid } = await controller.status();
        assert.ok(pid !== null);
        process.kill(pid, 'SIGKILL');
        await controller.until((status) => status.runner_pid !== null && status.runner_pid !== pid);
        await settled(controller);
        await assertEchoes(controller, 'restored');
      } finally {
        assert.equal(await controller.stop(), 0);
      }
      await assertClean();
    });
  }

  test('snapctr: the next one makes the layer', async () => {
    const first = await startController(workspace, { vmm: 'qemu', snapshots: 'being made' });
    await until('the build begins', () => unfinishedIn(store).length > 0, 20_000);
    first.kill('SIGKILL');
    await first.exited;
    const second = await startController(workspace, { vmm: 'qemu', snapshots: true });
    await assertEchoes(second, 'restored');
    assert.equal(await second.stop(), 0);
    await assertClean();
  });
});

describe('two controllers on one store', { timeout: 120_000 }, () => {
  test('make each layer once, and both restore from it', async () => {
    const workspaces = [createWorkspace([ECHO]), createWorkspace([ECHO])];
    const store = join(workspaces[0]?.directory ?? '', 'store');
    for (const { config } of workspaces) {
      writeFileSync(config, readFileSync(config, 'utf8').replace(/^snapshot_dir: .*$/m, `snapshot_dir: ${store}`));
    }
    const controllers = await Promise.all(
      workspaces.map((workspace) => startController(workspace, { vmm: 'qemu', snapshots: true })),
    );
    await Promise.all(controllers.map((controller) => assertEchoes(controller, 'restored')));
    const built = controllers.flatMap((controller) => logged(controller, 'snapshot ready: built'));
    assert.equal(built.length, 1, 'one of the two has built it');
    assert.deepEqual([layersIn(store, 'base').length, layersIn(store, 'function').length], [1, 1]);
    for (const controller of controllers) assert.equal(await controller.stop(), 0);
    for (const workspace of workspaces) {
      await assertNothingLeft(workspace);
      workspace.remove();
    }
    assert.equal(existsSync(store), false);
  });
});

describe('functions that cannot be kept', { timeout: 120_000 }, () => {
  const hooked = (name: string, registration: string): TestFunction =>
    source(
      name,
      'python3',
      `import os\nfrom snapshot_restore_py import *\n${registration}\ndef handle(request):\n    return 1\n`,
    );
  const fail = 'def fail():\n    raise KeyError("as asked")\n';
  let workspace: Workspace;
  let controller: RunningController;

  before(async () => {
    workspace = createWorkspace([
      ECHO,
      source('raises', 'python3', 'raise RuntimeError("at import")\n'),
      source('hangs', 'python3', 'import time\ntime.sleep(1000)\n'),
      hooked('before', `${fail}register_before_snapshot(fail)`),
      hooked('after', `${fail}register_after_restore(fail)`),
      hooked('exits', 'register_after_restore(os._exit, 3)'),
    ]);
    const args = ['--boot-timeout', '10'];
    controller = await startController(workspace, { vmm: 'qemu', snapshots: true, args });
  });

  after(async () => {
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  test('a failing import is told in the log and to the client', async () => {
    assert.match(JSON.stringify(logged(controller, 'the function does not load')), /at import/);
    const error = errorOf(await controller.invoke('raises', {}));
    assert.deepEqual([error?.code, error?.type, error?.message], ['function_error', 'RuntimeError', 'at import']);
  });

  test('an import that never ends runs into the time limit, and is the function’s error', async () => {
    const error = errorOf(await controller.invoke('hangs', {}));
    assert.deepEqual([error?.code, error?.type], ['function_error', 'Sandbox.Timedout']);
    assert.match(error?.message ?? '', /^the import .* 10000 ms/);
  });

  test('after a failing hook before the snapshot, VMs start without one', async () => {
    const answer = await controller.invoke('before', {});
    assert.deepEqual([answer.status, startOf(answer)], [200, 'cold'], answer.text);
    const told = logged(controller, 'cold start without the snapshot').filter((line) => line['function'] === 'before');
    assert.match(JSON.stringify(told), /as asked/);
  });

  test('a failing hook after the restore is the function’s error', async () => {
    const error = errorOf(await controller.invoke('after', {}));
    assert.deepEqual([error?.code, error?.type], ['function_error', 'KeyError']);
  });

  test('a hook that ends the process costs its function the snapshot, not the answer', async () => {
    const answer = await controller.invoke('exits', {});
    assert.deepEqual([answer.status, startOf(answer)], [200, 'cold'], answer.text);
  });

  test('others are restored', () => assertEchoes(controller, 'restored'));
});
