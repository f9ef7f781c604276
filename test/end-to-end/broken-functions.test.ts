/** One function's mistake is its own: the controller starts, serves the others, and tells why that one cannot run. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { source } from '../support/functions.ts';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  run,
  SNAPCTR,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';

const ECHO = 'def handle(event):\n    return event\n';
/** Entries with a mistake each, by name, and what is to be said of it. */
const MISTAKES: Readonly<Record<string, readonly [entry: string, reason: RegExp]>> = {
  'no-files': ['runtime: python3, appfs: nowhere', /nowhere does not exist/],
  'no-runtime': ['appfs: good', /neither `runtime` nor `runtimefs`/],
  'other-runtime': ['runtime: cobol, appfs: good', /`runtime` must be `python3` or `nodejs` or `provided`/],
  'too-large': ['runtime: python3, appfs: good, memory: 99999999', /is over the .* MB of --mem/],
  'bad-environment': ['runtime: python3, appfs: good, environment: {PORT: 80}', /quote it: "80"/],
  misspelt: ['runtime: python3, appfs: good, memroy: 128', /did you mean `memory`\?/],
  outside: ['runtime: python3, appfs: ../..', /must name a file or directory below `appfs_dir`/],
  'bad-lock': ['runtime: nodejs, appfs: bad-lock', /bad-lock cannot be made ready: /],
};

describe('broken functions', () => {
  let workspace: Workspace;
  let controller: RunningController;

  before(async () => {
    workspace = createWorkspace([
      source('good', 'python3', ECHO),
      {
        name: 'bad-lock',
        runtime: 'nodejs',
        files: { 'workload.js': '', 'package.json': '{}', 'package-lock.json': 'this is no lock file' },
      },
    ]);
    const list = join(workspace.directory, 'functions.yaml');
    const good = readFileSync(list, 'utf8').split('- name: bad-lock')[0] ?? '';
    const broken = Object.entries(MISTAKES).map(([name, [entry]]) => `- {name: ${name}, ${entry}}`);
    writeFileSync(list, `${good}${broken.join('\n')}\n- {name: "no name", runtime: python3}\n- 7\n`);
    controller = await startController(workspace, { vmm: 'process' });
  });

  after(async () => {
    await controller.stop();
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  test('the others are served', async () => {
    assert.deepEqual((await controller.invoke('good', [1])).body, [1]);
  });

  for (const [name, [, reason]] of Object.entries(MISTAKES)) {
    test(`${name}: its requests, the status and the log tell why`, async () => {
      const answer = await controller.invoke(name, {});
      assert.equal(answer.status, 503);
      assert.equal(errorOf(answer)?.code, 'vm_launch_failed');
      assert.match(errorOf(answer)?.message ?? '', reason);
      const { broken } = await controller.status();
      assert.match(broken.find((one) => one.name === name)?.problems.join('\n') ?? '', reason);
      const lines = controller.log.filter((line) => line.includes(`"function":"${name}"`));
      assert.equal(lines.length, 1, 'told once');
      assert.match((JSON.parse(lines[0] ?? '') as { msg: string }).msg, reason);
    });
  }

  test('entries without a name are told, too', async () => {
    const nameless = (await controller.status()).broken.filter(({ name }) => name === null);
    assert.equal(nameless.length, 2);
    assert.match(nameless[0]?.problems.join() ?? '', /function `no name`: `name` must be/);
    assert.match(nameless[1]?.problems.join() ?? '', /must be a map of keys/);
  });

  test('--strict does not start, and tells all at once', async () => {
    const args = ['--config', workspace.config, '--mem', '1024', '--port', '0', '--vmm', 'process', '--strict'];
    const { status, stderr } = await run(SNAPCTR, args, { workspace });
    assert.equal(status, 2);
    for (const [, reason] of Object.values(MISTAKES)) assert.match(stderr, reason);
  });
});
