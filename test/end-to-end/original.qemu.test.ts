import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  assertNothingLeft,
  createWorkspace,
  IMAGES,
  run,
  SNAPCTR,
  type Finished,
  type Workspace,
} from '../support/snapctr.ts';

/** Configuration, functions, handlers and request lines as somebody has them who used the original. */
const FUNCTIONS = `
- name: lorem-py
  runtimefs: python3.ext4
  appfs: lorem-py.ext2
  vcpus: 1
  memory: 128
  concurrency_limit: 1
  load_dir: base/python3,diff/lorem-py
- name: lorem-js
  runtimefs: nodejs.ext4
  appfs: lorem-js.ext2
  vcpus: 1
  memory: 128
  concurrency_limit: 1
  diff_dirs: lorem-js
  copy_diff: true
`;
const REQUESTS = [
  '{"time": 0, "user_id": 0, "function": "lorem-py", "payload": {"request": 42}}',
  '{"time": 5000, "user_id": 1, "function": "lorem-js", "payload": {"request": 43}}',
];

describe("the original's files", { timeout: 120_000 }, () => {
  let workspace: Workspace;
  let finished: Finished;

  before(async () => {
    workspace = createWorkspace([]);
    const file = (name: string, text: string): string => {
      const path = join(workspace.directory, name);
      mkdirSync(join(path, '..'), { recursive: true });
      writeFileSync(path, text);
      return path;
    };
    for (const [name, handler, text] of [
      ['lorem-py', 'workload.py', "def handle(request):\n    return {'got': request}\n"],
      ['lorem-js', 'workload', 'exports.handle = async (request) => ({ got: request });\n'],
    ] as const) {
      file(`src-${name}/${handler}`, text);
      const args = ['images', 'app', join(workspace.directory, `src-${name}`)];
      const built = await run(SNAPCTR, [...args, '--out', join(workspace.directory, `apps/${name}.ext2`)], {
        workspace,
      });
      assert.equal(built.status, 0, built.stderr);
    }
    file('functions.yaml', FUNCTIONS);
    const config = file(
      'original.yaml',
      [
        `kernel_path: file://localhost${join(IMAGES, 'vmlinux')}`,
        `runtimefs_dir: file://localhost${join(IMAGES, 'runtimefs')}`,
        `appfs_dir: ${join(workspace.directory, 'apps')}`,
        `snapshot_dir: ${join(workspace.directory, 'snapshots')}`,
        `function_config: ${join(workspace.directory, 'functions.yaml')}`,
        'firerunner_path: target/release/firerunner',
        '',
      ].join('\n'),
    );
    const requests = file('requests.json', `${REQUESTS.join('\n')}\n`);
    finished = await run(SNAPCTR, ['-c', config, '--mem', '256', '--vmm', 'qemu', '--requests_file', requests], {
      workspace,
    });
  });

  after(async () => {
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  test('configuration, images, handlers and request lines run unchanged', () => {
    assert.equal(finished.status, 0, finished.stderr);
    const lines = finished.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(
      lines.map((line) => [line['function'], line['response']]),
      [
        ['lorem-py', { got: { request: 42 } }],
        ['lorem-js', { got: { request: 43 } }],
      ],
    );
  });

  test('keys without effect are named in the log', () => {
    for (const key of ['firerunner_path', 'load_dir', 'diff_dirs', 'copy_diff']) {
      assert.ok(finished.stderr.includes(key), `${key} is not mentioned in:\n${finished.stderr}`);
    }
  });
});
