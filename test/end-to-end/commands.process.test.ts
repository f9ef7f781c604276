/** The commands for functions against a running controller, from the first deployment to the last. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  createWorkspace,
  run,
  SNAPCTR,
  startController,
  type Finished,
  type RunningController,
} from '../support/snapctr.ts';

const workspace = createWorkspace([
  {
    name: 'filed',
    runtime: 'nodejs',
    keys: { handler: 'index.handler' },
    files: { 'index.js': 'exports.handler = async () => 1;\n' },
  },
]);
const directory = join(workspace.directory, 'shop');
let controller: RunningController;

before(async () => {
  mkdirSync(directory);
  controller = await startController(workspace, {
    vmm: 'process',
    args: ['--data-dir', join(workspace.directory, 'kept')],
  });
});

after(async () => {
  await controller.stop();
  workspace.remove();
});

function write(answer: string): void {
  writeFileSync(
    join(directory, 'index.mjs'),
    `export const handler = async (event) => [${JSON.stringify(answer)}, event];\n`,
  );
}

function snapctr(...args: readonly string[]): Promise<Finished> {
  return run(SNAPCTR, [...args, '--endpoint', controller.url], { workspace });
}

/** What a command says in JSON; it ends well. */
async function json(...args: readonly string[]): Promise<unknown> {
  const { status, stdout, stderr } = await snapctr(...args, '--json');
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

async function answerOf(name: string): Promise<unknown> {
  const { status, stdout, stderr } = await snapctr('invoke', name, '--payload', '{"n":1}');
  assert.equal(status, 0, stderr);
  return (JSON.parse(stdout) as readonly unknown[])[0];
}

test('a directory is deployed, changed, published, led to by an alias, rolled back and deleted', async () => {
  write('one');
  const first = await snapctr('deploy', directory, '--publish', '--alias', 'live');
  assert.equal(first.status, 0, first.stderr);
  assert.equal(await answerOf('shop'), 'one');
  write('two');
  assert.equal((await snapctr('deploy', directory)).status, 0);
  assert.equal(await answerOf('shop'), 'two');
  assert.equal(await answerOf('shop:live'), 'one');
  const published = (await json('publish', 'shop')) as { readonly Version: string };
  assert.equal(published.Version, '2');
  assert.equal((await snapctr('alias', 'set', 'shop', 'live', '2')).status, 0);
  assert.equal(await answerOf('shop:live'), 'two');
  const rolledBack = await snapctr('rollback', 'shop', '--to', '1');
  assert.equal(rolledBack.status, 0, rolledBack.stderr);
  assert.equal(await answerOf('shop'), 'one');
  const names = ((await json('list')) as readonly { readonly FunctionName: string }[]).map((one) => one.FunctionName);
  assert.deepEqual(names.sort(), ['filed', 'shop']);
  const deleted = await snapctr('delete', 'shop');
  assert.equal(deleted.status, 0, deleted.stderr);
  const gone = await snapctr('invoke', 'shop');
  assert.equal(gone.status, 1);
  assert.match(gone.stderr, /ResourceNotFoundException: Function not found/);
});

test('code that fails, and functions that are changed elsewhere, have their exit status', async () => {
  writeFileSync(join(directory, 'index.mjs'), 'export const handler = async () => { throw new Error("no"); };\n');
  assert.equal((await snapctr('deploy', directory, '--name', 'failing')).status, 0);
  const failed = await snapctr('invoke', 'failing');
  assert.equal(failed.status, 3);
  assert.equal((JSON.parse(failed.stdout) as { readonly errorMessage: string }).errorMessage, 'no');
  const filed = await snapctr('deploy', directory, '--name', 'filed');
  assert.equal(filed.status, 1);
  assert.match(filed.stderr, /functions\.yaml/);
  const nowhere = await snapctr('deploy', join(workspace.directory, 'nothing'));
  assert.equal(nowhere.status, 2, nowhere.stderr);
  const syntax = await run(SNAPCTR, ['invoke', 'shop', '--endpoint', 'http://127.0.0.1:1'], { workspace });
  assert.equal(syntax.status, 1);
  assert.match(syntax.stderr, /nobody listens on http:\/\/127\.0\.0\.1:1/);
});
