/** `snapctr snapshots`: layers made ahead, and the disk looked after. */
import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { LayerSummary } from '../../src/firerunner/snapshots/store.ts';
import { source } from '../support/functions.ts';
import {
  assertNothingLeft,
  createWorkspace,
  run,
  SNAPCTR,
  startController,
  type Finished,
  type Workspace,
} from '../support/snapctr.ts';
import { damage, layersIn, logged, startOf, unfinishedIn } from '../support/snapshots.ts';

describe('snapctr snapshots', { timeout: 240_000 }, () => {
  let workspace: Workspace;
  let store: string;

  before(() => {
    workspace = createWorkspace(
      [
        source('python', 'python3', "print('imported')\ndef handle(request):\n    return 1\n"),
        source('node', 'nodejs', 'exports.handle = () => 1;\n'),
      ],
      ['snapshot_dir: store'],
    );
    store = join(workspace.directory, 'store');
  });

  after(async () => {
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  const snapshots = (...args: string[]): Promise<Finished> => run(SNAPCTR, ['snapshots', ...args], { workspace });
  const withConfig = (command: string, ...args: string[]): Promise<Finished> =>
    snapshots(command, '--config', workspace.config, ...args);
  const build = (...args: string[]): Promise<Finished> => withConfig('build', '--vmm', 'qemu', ...args);
  /** The layers that a build names, by function. */
  const named = ({ stdout }: Finished): Map<string, string> =>
    new Map(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => {
          const [fn = '', layer = '', ...rest] = line.split(' ');
          assert.deepEqual([rest, /^function-[0-9a-f]{16}$/.test(layer)], [[], true], line);
          return [fn, layer];
        }),
    );
  const addFunction = (name: string, text: string): void => {
    mkdirSync(join(workspace.directory, 'apps', name));
    writeFileSync(join(workspace.directory, 'apps', name, 'workload.py'), text);
    appendFileSync(
      join(workspace.directory, 'functions.yaml'),
      `- name: ${name}\n  runtime: python3\n  appfs: ${name}\n  memory: 128\n`,
    );
  };

  test('before anything was built there is nothing to list, to verify or to be alarmed at', async () => {
    assert.deepEqual(await withConfig('list'), { status: 0, stdout: '', stderr: '' });
    assert.deepEqual(await withConfig('list', '--json'), { status: 0, stdout: '[]\n', stderr: '' });
    assert.deepEqual(await withConfig('verify'), { status: 0, stdout: `no layers in ${store}\n`, stderr: '' });
  });

  test('build makes a layer for each function, with progress on stderr and their names on stdout', async () => {
    const built = await build();
    assert.equal(built.status, 0, built.stderr);
    assert.deepEqual([...named(built).keys()], ['python', 'node']);
    assert.deepEqual([...named(built).values()].sort(), layersIn(store, 'function'));
    assert.equal(layersIn(store, 'base').length, 2);
    for (const fn of ['python', 'node']) {
      for (const what of ['booting the base layer', 'loading the function into a VM', 'made in \\d+\\.\\d s']) {
        assert.match(built.stderr, new RegExp(`^${fn}: ${what}$`, 'm'));
      }
    }
    assert.match(built.stderr, /^python: imported$/m);
    assert.deepEqual(unfinishedIn(store), []);
  });

  test('a second build finds them', async () => {
    const before = readFileSync(join(store, layersIn(store, 'base')[0] ?? '', 'manifest.json'), 'utf8');
    const built = await build();
    assert.equal(built.status, 0, built.stderr);
    assert.deepEqual(named(built).size, 2);
    assert.match(built.stderr, /^python: up to date$/m);
    assert.match(built.stderr, /^node: up to date$/m);
    assert.doesNotMatch(built.stderr, /booting|loading/);
    assert.equal(readFileSync(join(store, layersIn(store, 'base')[0] ?? '', 'manifest.json'), 'utf8'), before);
  });

  test('a controller restores from them at once', async () => {
    const controller = await startController(workspace, { vmm: 'qemu', memoryMib: 256, snapshots: true });
    const answer = await controller.invoke('node', null);
    assert.equal(await controller.stop(), 0);
    assert.deepEqual([answer.body, startOf(answer)], [1, 'restored']);
    assert.equal(logged(controller, 'snapshot ready: was there').length, 2);
  });

  test('list shows a line for each layer, and everything of it with --json', async () => {
    const { status, stdout } = await withConfig('list');
    assert.equal(status, 0);
    const lines = stdout.trimEnd().split('\n');
    assert.equal(lines.length, 4);
    for (const line of lines)
      assert.match(line, /^(base|function)-[0-9a-f]{16} +\d+\.\d MiB +\d{4}-\d\d-\d\dT\S+ +\S+$/);
    assert.equal(lines.filter((line) => /^function-.* (python|node)$/.test(line)).length, 2);
    assert.equal((await snapshots('list', '--dir', store)).stdout, stdout);
    const layers = JSON.parse((await withConfig('list', '--json')).stdout) as LayerSummary[];
    assert.deepEqual(
      layers.map(({ name }) => name),
      [...layersIn(store, 'base'), ...layersIn(store, 'function')],
    );
    for (const { kind, base, digest, problem, memoryBytes } of layers) {
      assert.deepEqual([problem, memoryBytes], [null, 128 * 1024 * 1024]);
      assert.match(digest ?? '', /^[0-9a-f]{64}$/);
      assert.equal(
        layers.some((below) => below.kind === 'base' && below.digest === base),
        kind === 'function',
      );
    }
  });

  test('verify finds them whole', async () => {
    const { status, stdout } = await withConfig('verify');
    assert.deepEqual([status, stdout], [0, '4 layers are as they were made\n']);
    const json = await snapshots('verify', '--dir', store, '--json');
    assert.equal(json.status, 0);
    const verifications = JSON.parse(json.stdout) as { readonly name: string; readonly problem: string | null }[];
    assert.deepEqual(
      verifications.map(({ problem }) => problem),
      [null, null, null, null],
    );
  });

  test('verify names the damaged file; list does where its size tells', async () => {
    const [layer = ''] = layersIn(store, 'function');
    const pages = join(store, layer, 'pages');
    const whole = readFileSync(pages);
    damage(pages, 'flipped');
    const verified = await withConfig('verify');
    assert.equal(verified.status, 1);
    assert.match(verified.stdout, new RegExp(`^${layer}: pages has other contents than were written$`, 'm'));
    damage(pages, 'cut');
    assert.equal((await withConfig('verify')).status, 1);
    const listed = await withConfig('list');
    assert.equal(listed.status, 0);
    assert.match(listed.stdout, new RegExp(`^${layer} .* pages has \\d+ bytes instead of ${whole.length}$`, 'm'));
    const repaired = await build();
    assert.equal(repaired.status, 0);
    assert.match(repaired.stderr, /is damaged: pages has \d+ bytes instead of \d+; it has to be made again$/m);
    assert.equal((await withConfig('verify')).status, 0);
  });

  test('prune removes layers that no function needs, and what builders left; it keeps bases in use', async () => {
    writeFileSync(join(workspace.directory, 'apps/python/workload.py'), 'def handle(request):\n    return 2\n');
    const before = layersIn(store, 'function');
    // No process has this id.
    const left = join(store, '.snapfaas-build-4194305-17-00000000');
    mkdirSync(join(left, 'scratch'), { recursive: true });
    writeFileSync(join(left, 'scratch/memory'), 'x');
    const pruned = await withConfig('prune', '--vmm', 'qemu');
    assert.equal(pruned.status, 0, pruned.stderr);
    const after = layersIn(store, 'function');
    const gone = before.filter((name) => !after.includes(name));
    assert.deepEqual([before.length, after.length, gone.length], [2, 2, 1]);
    assert.match(pruned.stdout, new RegExp(`^removed ${gone[0] ?? ''}$`, 'm'));
    assert.equal(layersIn(store, 'base').length, 2);
    assert.deepEqual(unfinishedIn(store), []);
    assert.match((await build()).stderr, /^python: up to date$/m);
  });

  test('a function that does not load fails the build, with its error; the others are made all the same', async () => {
    addFunction('broken', "raise ValueError('as asked')\n");
    const built = await build();
    assert.equal(built.status, 1);
    assert.match(built.stderr, /^broken: FAILED: ValueError: as asked$/m);
    assert.deepEqual([...named(built).keys()], ['python', 'node']);
    const layers = layersIn(store, 'function');
    const pruned = await withConfig('prune', '--vmm', 'qemu');
    assert.equal(pruned.status, 1);
    assert.match(pruned.stderr, /^snapctr: nothing is removed/m);
    assert.deepEqual(layersIn(store, 'function'), layers);
  });

  test('what cannot be done is said in a line', async () => {
    for (const [status, why, ...args] of [
      [2, /snapctr: .*nowhere\.yaml/, 'build', '--config', join(workspace.directory, 'nowhere.yaml')],
      [2, /give --config FILE or --dir DIRECTORY/, 'list'],
      [1, /this VMM has no snapshots/, 'build', '--config', workspace.config, '--vmm', 'process'],
      [2, /required option/, 'build'],
      [2, /unknown option/, 'list', '--dir', store, '--nonsense'],
    ] as const) {
      const finished = await snapshots(...args);
      assert.deepEqual([finished.status, finished.stdout], [status, ''], args.join(' '));
      const lines = finished.stderr
        .trimEnd()
        .split('\n')
        .filter((line) => !/^(\{|usage: )/.test(line));
      assert.equal(lines.length, 1, finished.stderr);
      assert.match(lines[0] ?? '', why);
    }
  });

  test('a store that cannot be used is named, with what to do', async () => {
    writeFileSync(join(workspace.directory, 'file'), '');
    const config = join(workspace.directory, 'in-a-file.yaml');
    writeFileSync(
      config,
      readFileSync(workspace.config, 'utf8').replace('snapshot_dir: store', 'snapshot_dir: file/store'),
    );
    const { status, stderr } = await snapshots('build', '--config', config, '--vmm', 'qemu');
    assert.equal(status, 2);
    assert.match(stderr, /`snapshot_dir` cannot be created/);
    assert.doesNotMatch(stderr, /^ {4}at /m);
  });
});
