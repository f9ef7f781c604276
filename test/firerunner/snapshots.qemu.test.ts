/** Layers made by hand: `--dump_to` makes them, `--load_from` and the original's keys restore from them. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { EXIT_CODES, type ExitCode } from '../../src/firerunner/exit-codes.ts';
import { source } from '../support/functions.ts';
import {
  assertNothingLeft,
  createWorkspace,
  FIRERUNNER,
  IMAGES,
  run,
  SNAPCTR,
  startController,
  type Finished,
  type Workspace,
} from '../support/snapctr.ts';
import { damage, logged, startOf } from '../support/snapshots.ts';

const COUNTER = `
import os, sys, time
from snapshot_restore_py import register_before_snapshot, register_after_restore
loaded = time.monotonic_ns()
calls = 0
print('imported')
register_before_snapshot(print, 'sealed')
register_after_restore(print, 'restored')

def handle(request):
    global calls
    calls += 1
    return {'calls': calls, 'loaded': loaded, 'greeting': os.environ.get('GREETING')}
`;

interface Told {
  readonly calls: number;
  /** The same for all VMs of one layer. */
  readonly loaded: number;
  readonly greeting: string | null;
}

describe('layers made by hand', { timeout: 240_000 }, () => {
  let workspace: Workspace;

  before(async () => {
    workspace = createWorkspace(
      [
        source('counter', 'python3', COUNTER),
        source('other', 'python3', 'def handle(request):\n    return 1\n'),
        source('broken', 'python3', "raise ValueError('as asked')\n"),
      ],
      ['snapshot_dir: layers'],
    );
    mkdirSync(join(workspace.directory, 'layers'));
    for (const name of ['counter', 'other', 'broken']) {
      const built = await run(SNAPCTR, ['images', 'app', inApps(name), '--out', image(name)], { workspace });
      assert.equal(built.status, 0, built.stderr);
    }
    cpSync(image('counter'), join(workspace.directory, 'apps/counter.ext4'));
  });

  after(async () => {
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  const inApps = (name: string): string => join(workspace.directory, 'apps', name);
  const image = (name: string): string => join(workspace.directory, `${name}.ext4`);
  const layer = (name: string): string => join(workspace.directory, 'layers', name);
  const layers = (...names: string[]): string => names.map(layer).join(',');

  /** One VM, with these flags on top of, or in place of, the usual ones. */
  const firerunner = (flags: Readonly<Record<string, string>>, ...events: unknown[]): Promise<Finished> => {
    const all = {
      ...{ vmm: 'qemu', kernel: join(IMAGES, 'vmlinux'), rootfs: join(IMAGES, 'runtimefs/python3.ext4') },
      ...{ mem_size: '128', vcpu_count: '1', id: 'by-hand' },
      ...flags,
    };
    const args = Object.entries(all).flatMap(([name, value]) => [`--${name}`, value]);
    const stdin = events.map((payload) => `${JSON.stringify({ payload })}\n`).join('');
    return run(FIRERUNNER, args, { workspace, stdin });
  };
  const answers = ({ stdout }: Finished): Told[] =>
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Told);
  /** It ends with this exit code, and one line of its own says why. */
  const assertRefused = (finished: Finished, code: ExitCode, why: RegExp): void => {
    assert.deepEqual([finished.status, finished.stdout], [code, ''], finished.stderr);
    const lines = finished.stderr
      .trimEnd()
      .split('\n')
      .filter((line) => !/^firerunner: (qemu with|QEMU runs)/.test(line));
    assert.equal(lines.length, 1, finished.stderr);
    assert.match(lines[0] ?? '', why);
  };

  test('a base layer is made without a function', async () => {
    const { status, stdout, stderr } = await firerunner({ dump_to: layer('base') });
    assert.deepEqual([status, stdout], [EXIT_CODES.ok, ''], stderr);
    assert.match(stderr, /holds a base layer: \d+\.\d MiB of memory/);
    assert.deepEqual(readdirSync(layer('base')).sort(), ['index', 'manifest.json', 'pages', 'state']);
  });

  test('a function layer is made on it, with what import and hooks print on stderr', async () => {
    const flags = { appfs: image('counter'), load_from: layer('base'), dump_to: layer('counter') };
    const { status, stdout, stderr } = await firerunner(flags);
    assert.deepEqual([status, stdout], [EXIT_CODES.ok, ''], stderr);
    assert.match(stderr, /holds a function layer/);
    assert.match(stderr, /^imported\nsealed$/m);
    assert.doesNotMatch(stderr, /^restored$/m);
  });

  test('VMs are restored from both, each as the import left it', async () => {
    const flags = { appfs: image('counter'), load_from: layers('base', 'counter') };
    const first = await firerunner(flags, null, null);
    const second = await firerunner({ ...flags, id: 'another-name' }, null);
    for (const { status, stderr } of [first, second]) {
      assert.equal(status, EXIT_CODES.ok, stderr);
      assert.match(stderr, /^firerunner: VM \S+ is ready \(restored\): spawn \d+ ms, boot 0 ms, load \d+ ms, resume/m);
      assert.match(stderr, /^restored$/m);
      assert.doesNotMatch(stderr, /^imported$/m);
    }
    assert.deepEqual(
      answers(first).map(({ calls }) => calls),
      [1, 2],
    );
    assert.deepEqual(
      answers(second).map(({ calls }) => calls),
      [1],
    );
    assert.equal(answers(first)[0]?.loaded, answers(second)[0]?.loaded);
  });

  test('from the base layer alone any function is loaded, and no kernel is booted', async () => {
    const counter = await firerunner(
      { appfs: image('counter'), load_from: layer('base'), env: 'GREETING=hello' },
      null,
    );
    assert.equal(counter.status, EXIT_CODES.ok, counter.stderr);
    assert.equal(answers(counter)[0]?.greeting, 'hello');
    assert.match(counter.stderr, /^imported$/m);
    assert.match(counter.stderr, /ready \(cold\): .* boot \d{1,3} ms/);
    const other = await firerunner({ appfs: image('other'), load_from: layer('base') }, null);
    assert.deepEqual([other.status, other.stdout], [EXIT_CODES.ok, '1\n'], other.stderr);
  });

  test('a layer may hold all of a function, without a base below it', async () => {
    const dumped = await firerunner({ appfs: image('counter'), dump_to: layer('full') });
    assert.equal(dumped.status, EXIT_CODES.ok, dumped.stderr);
    const { status, stdout, stderr } = await firerunner({ appfs: image('counter'), load_from: layer('full') }, null);
    assert.equal(status, EXIT_CODES.ok, stderr);
    assert.match(stderr, /is ready \(restored\)/);
    assert.equal((JSON.parse(stdout) as Told).calls, 1);
  });

  test("the original's load_dir and diff_dirs name such layers", async () => {
    const entry = (name: string, ...keys: string[]): string =>
      [`- name: ${name}`, '  runtime: python3', '  appfs: counter.ext4', '  memory: 128', ...keys].join('\n');
    writeFileSync(
      join(workspace.directory, 'functions.yaml'),
      [
        entry('one-diff', '  load_dir: base', '  diff_dirs: counter'),
        entry('listed-diff', '  load_dir: base', '  diff_dirs: [counter]'),
        entry('full', '  load_dir: full'),
        entry('on-a-base', '  load_dir: base'),
        entry('unfit', '  load_dir: counter'),
      ].join('\n'),
    );
    const before = readdirSync(join(workspace.directory, 'layers'));
    const controller = await startController(workspace, { vmm: 'qemu', snapshots: true });
    try {
      const loaded = new Map<string, number>();
      for (const name of ['one-diff', 'listed-diff', 'full', 'on-a-base', 'unfit']) {
        const answer = await controller.invoke(name, null);
        const { calls, loaded: when } = answer.body as Told;
        assert.equal(calls, 1, answer.text);
        assert.equal(startOf(answer), ['on-a-base', 'unfit'].includes(name) ? 'cold' : 'restored', name);
        loaded.set(name, when);
      }
      assert.equal(loaded.get('one-diff'), loaded.get('listed-diff'));
      assert.deepEqual((await controller.status()).snapshots, { preparing: 0, ready: 4, failed: 1 });
      const [failed, ...others] = logged(controller, 'no snapshot could be made');
      assert.deepEqual([failed?.['function'], others], ['unfit', []]);
      assert.match(
        JSON.stringify(failed),
        /counter was made on top of another layer, and cannot be the first; give the layer/,
      );
    } finally {
      assert.equal(await controller.stop(), 0);
    }
    // Layers made by hand are neither changed nor added to.
    assert.deepEqual(readdirSync(join(workspace.directory, 'layers')), before);
  });

  describe('are refused in one line', () => {
    test('if there is no such directory', async () => {
      const missing = await firerunner({ appfs: image('counter'), load_from: layers('base', 'nowhere') });
      assertRefused(missing, EXIT_CODES.file_missing, /--load_from: \S+nowhere does not exist/);
      const file = await firerunner({ appfs: image('counter'), load_from: image('counter') });
      assertRefused(file, EXIT_CODES.usage, /--load_from: \S+ is no directory/);
    });

    test('if the target exists, or its parent does not', async () => {
      assertRefused(await firerunner({ dump_to: layer('base') }), EXIT_CODES.usage, /--dump_to: \S+ exists/);
      const nowhere = join(workspace.directory, 'nowhere/layer');
      assertRefused(await firerunner({ dump_to: nowhere }), EXIT_CODES.usage, /--dump_to: \S+nowhere is no directory/);
      assert.equal(existsSync(join(workspace.directory, 'nowhere')), false);
    });

    test('in another order, and on no base or another one', async () => {
      const load = (...names: string[]): Promise<Finished> =>
        firerunner({ appfs: image('counter'), load_from: layers(...names) });
      const why = /was made on top of another layer, and cannot (be the first|follow .*full); give .* BASE,LAYER/;
      assertRefused(await load('counter', 'base'), EXIT_CODES.launch_failed, why);
      assertRefused(await load('counter'), EXIT_CODES.launch_failed, why);
      assertRefused(await load('full', 'counter'), EXIT_CODES.launch_failed, why);
    });

    for (const [what, flags, why] of [
      ['memory of another size', { mem_size: '256' }, /another memoryMib: 128, now 256/],
      ['another number of CPUs', { vcpu_count: '2' }, /another vcpus: 1, now 2/],
      ['another kernel command line', { kernel_args: 'loglevel=3' }, /another kernelArgs/],
      ['another root file system', { rootfs: join(IMAGES, 'runtimefs/nodejs.ext4') }, /another rootfs/],
      ['an environment that they were not made with', { env: 'GREETING=hello' }, /another environment/],
      ['a handler that they were not made with', { handler: 'workload.other' }, /another handler/],
    ] as const) {
      test(`for ${what}`, async () => {
        const refused = await firerunner({ appfs: image('counter'), load_from: layers('base', 'counter'), ...flags });
        assertRefused(refused, EXIT_CODES.launch_failed, why);
      });
    }

    test('for another function', async () => {
      const refused = await firerunner({ appfs: image('other'), load_from: layers('base', 'counter') });
      assertRefused(refused, EXIT_CODES.launch_failed, /another appfs/);
    });

    test('if a base is to be made on a base', async () => {
      const refused = await firerunner({ load_from: layer('base'), dump_to: layer('second') });
      assertRefused(refused, EXIT_CODES.launch_failed, /holds a function: give --appfs/);
      assert.equal(existsSync(layer('second')), false);
    });

    test('if a function is to be put on a function', async () => {
      const flags = { appfs: image('counter'), load_from: layers('base', 'counter'), dump_to: layer('second') };
      assertRefused(
        await firerunner(flags),
        EXIT_CODES.launch_failed,
        /counter holds a function already: name its base/,
      );
      assert.equal(existsSync(layer('second')), false);
    });

    test('if one is damaged', async () => {
      for (const part of ['state', 'index', 'pages', 'manifest.json']) {
        const copy = layer(`damaged-${part}`);
        cpSync(layer('counter'), copy, { recursive: true });
        damage(join(copy, part), 'flipped');
        const refused = await firerunner({ appfs: image('counter'), load_from: `${layer('base')},${copy}` });
        assertRefused(refused, EXIT_CODES.launch_failed, new RegExp(`${copy} is damaged: ${part}`));
      }
    });

    test('without a VMM that has snapshots', async () => {
      for (const flag of ['dump_to', 'load_from']) {
        const flags = { vmm: 'process', runtime: 'python3', appfs: inApps('counter'), [flag]: layer('new') };
        assertRefused(await firerunner(flags), EXIT_CODES.usage, /the process driver has no snapshots/);
      }
    });
  });

  test('a function that does not load leaves no layer: exit code 5', async () => {
    const flags = { appfs: image('broken'), load_from: layer('base'), dump_to: layer('broken') };
    const { status, stderr } = await firerunner(flags);
    assert.equal(status, EXIT_CODES.load_failed, stderr);
    assert.match(stderr, /the function does not load: ValueError: .*as asked/);
    assert.deepEqual(
      readdirSync(join(workspace.directory, 'layers')).filter((name) => /broken|^\./.test(name)),
      [],
    );
  });
});
