/** `snapctr explain`: why an invocation took as long as it did. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { KnownInvocation } from '../../src/client/invocations-client.ts';
import { source } from '../support/functions.ts';
import { createWorkspace, run, SNAPCTR, startController, type RunningController } from '../support/snapctr.ts';

const NODE =
  'exports.handle = async (request) => { if (request === "fail") throw new Error("as told"); return request; };\n';
const workspace = createWorkspace([source('one', 'nodejs', NODE), source('two', 'nodejs', NODE)]);
let controller: RunningController;

before(async () => {
  controller = await startController(workspace, { vmm: 'process', memoryMib: 128 });
});
after(async () => {
  await controller.stop();
  workspace.remove();
});

async function invoke(name: string, payload: unknown): Promise<string> {
  const answer = await controller.invoke(name, payload);
  return answer.headers.get('x-snapfaas-request-id') ?? '';
}

const explain = (...args: readonly string[]) =>
  run(SNAPCTR, ['explain', ...args, '--endpoint', controller.url], { workspace });

async function known(id: string): Promise<KnownInvocation> {
  const { status, stdout, stderr } = await explain(id, '--json');
  assert.equal(status, 0, stderr);
  const [one, ...others] = JSON.parse(stdout) as readonly KnownInvocation[];
  assert.ok(one !== undefined && others.length === 0, stdout);
  return one;
}

test('explain: names what was evicted for a start, and tells a warm request from it', async () => {
  const first = await invoke('one', 1);
  const warm = await invoke('one', 1);
  // With memory for one VM, the other function has to evict; a request waits a little before it may.
  const second = await invoke('two', 1);
  const third = await invoke('one', 1);
  const cold = await known(first);
  assert.deepEqual([cold.outcome, cold.start, cold.launch?.cause?.lastEnd], ['ok', 'cold', null]);
  assert.ok(cold.launch !== null && cold.launch.waitMs > 0);
  assert.deepEqual([(await known(warm)).start, (await known(warm)).launch], ['warm', null]);
  const evictor = await known(second);
  assert.deepEqual(evictor.launch?.cause?.evicted, [{ vm: cold.vm, function: 'one', version: '$LATEST' }]);
  const { stdout } = await explain(second);
  assert.match(stdout, new RegExp(`To make room for it, ${cold.vm ?? ''} of one was evicted\\.`));
  assert.match(stdout, /It was not restored: no snapshots are used here\./);
  assert.match((await explain(third)).stdout, /the last one was evicted for two, /);
});

test('explain: a failure with its message, which steers no terminal', async () => {
  const { stdout, status } = await explain(await invoke('one', 'fail'));
  assert.equal(status, 0);
  assert.match(stdout, /It failed with function_error: Error: as told/);
  const refused = await invoke('nobody', 1);
  if (refused !== '') assert.match((await explain(refused)).stdout, /It was refused with function_not_found/);
});

test('explain: says that nothing is known of a request', async () => {
  const { status, stderr } = await explain('2f5e3c1e-8a1b-4c6e-9d0f-1a2b3c4d5e6f');
  assert.equal(status, 1);
  assert.match(stderr, /ResourceNotFoundException: nothing is known of a request with this id: .* no longer kept/);
});
