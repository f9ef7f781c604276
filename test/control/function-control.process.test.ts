import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { makeZip } from '../packages/zip.ts';
import { createWorkspace, type Workspace } from '../support/snapctr.ts';
import { newFunction, openStand, packageOf, type Stand } from './stand.ts';

const ANY = { revisionId: null };
const CODE = { ...ANY, publish: false, dryRun: false };
const PUBLISH = { ...ANY, codeSha256: null, description: null };

describe('functions that are made while snapctr runs', () => {
  let workspace: Workspace;
  let data: string;
  let stand: Stand;
  before(async () => {
    workspace = createWorkspace([]);
    data = join(workspace.directory, 'data');
    stand = await openStand(workspace, data);
  });
  after(async () => {
    await stand.close();
    workspace.remove();
  });
  // What a test that failed has left is not counted by the next.
  afterEach(async () => {
    const { functions, layers } = stand.control;
    for (const { name } of stand.registry.list()) await functions.delete(name);
    for (const { name, versions } of layers.list()) {
      for (const { version } of versions) await layers.delete({ name, version });
    }
  });
  const restart = async (): Promise<void> => {
    await stand.close();
    stand = await openStand(workspace, data);
  };
  const packages = (): number => readdirSync(join(data, 'packages')).length;

  test('one is created, answers, is changed, is there after a restart, and goes with all it had', async () => {
    const { control } = stand;
    const created = await control.functions.create(newFunction('f', await stand.receive(packageOf('one'))));
    assert.deepEqual([created.state, created.stateReason?.code, created.version], ['Pending', 'Creating', '$LATEST']);
    // It waits until the function is ready.
    assert.deepEqual(await stand.invoke('f', 1), ['one', '$LATEST', '$LATEST', 1]);
    const first = await stand.settled('f');
    assert.deepEqual([first.state, first.lastUpdateStatus], ['Active', 'Successful']);
    assert.notEqual(first.record.revisionId, created.record.revisionId);

    const code = await stand.receive(packageOf('two'));
    const updated = await control.functions.updateCode('f', { ...CODE, code, revisionId: first.record.revisionId });
    assert.deepEqual([updated.state, updated.lastUpdateStatus], ['Active', 'InProgress']);
    assert.deepEqual(await stand.invoke('f', 2), ['one', '$LATEST', '$LATEST', 2]);
    await stand.settled('f');
    assert.deepEqual(await stand.invoke('f', 3), ['two', '$LATEST', '$LATEST', 3]);
    assert.equal(packages(), 1, 'the package of before is gone');

    await restart();
    assert.deepEqual(await stand.invoke('f', 4), ['two', '$LATEST', '$LATEST', 4]);
    await stand.control.functions.delete('f');
    await assert.rejects(stand.invoke('f', 5), { code: 'function_not_found' });
    assert.throws(() => stand.control.functions.describe('f', null), { code: 'not_found' });
    await restart();
    assert.equal(stand.control.functions.find('f'), undefined);
    assert.equal(packages(), 0);
  });

  test('a layer that is deleted while a function comes to use it is there for the function', async () => {
    const { functions, layers } = stand.control;
    const details = { description: '', licenseInfo: null, compatibleRuntimes: [], compatibleArchitectures: [] };
    const publish = async (word: string): Promise<{ name: string; version: number }> => {
      const code = await stand.receive(makeZip([{ name: 'word.txt', data: word }]));
      const { version } = await layers.publish({ name: 'words', code, ...details });
      return { name: 'words', version };
    };
    const code = await stand.receive(packageOf('layered'));
    const fn = newFunction('layered', code);
    const first = await publish('one');
    const settings = { ...fn.settings, layers: [first] };
    await Promise.all([functions.create({ ...fn, settings }), layers.delete(first)]);
    const created = await stand.settled('layered');
    assert.deepEqual([created.state, created.stateReason], ['Active', null]);
    const second = await publish('two');
    const update = functions.updateConfiguration('layered', { settings: { layers: [second] }, ...ANY });
    await Promise.all([update, layers.delete(second)]);
    const updated = await stand.settled('layered');
    assert.deepEqual([updated.lastUpdateStatus, updated.lastUpdateReason], ['Successful', null]);
    assert.equal(packages(), 2, 'the package of the first layer is gone');
    await functions.delete('layered');
    assert.equal(packages(), 0);
  });

  test('code that does not load is refused, whether it cannot be parsed, throws or ends: the version before goes on', async () => {
    const { functions } = stand.control;
    await functions.create(newFunction('l', await stand.receive(packageOf('good'))));
    await stand.settled('l');
    for (const [text, message] of [
      ['def handle(', /^it does not load: Runtime\.UserCodeSyntaxError: /],
      ['import nothing_of_this_name', /^it does not load: Runtime\.ImportModuleError: .*nothing_of_this_name/],
      ['import os\nos._exit(3)', /^it does not load: Runtime\.ExitError: /],
    ] as const) {
      const code = await stand.receive(makeZip([{ name: 'main.py', data: text }]));
      await functions.updateCode('l', { ...CODE, code });
      const { state, lastUpdateStatus, lastUpdateReason } = await stand.settled('l');
      assert.deepEqual([state, lastUpdateStatus, lastUpdateReason?.code], ['Active', 'Failed', 'FunctionError']);
      assert.match(lastUpdateReason?.message ?? '', message);
      assert.deepEqual(await stand.invoke('l', 1), ['good', '$LATEST', '$LATEST', 1]);
    }
    await functions.updateCode('l', { ...CODE, code: await stand.receive(packageOf('mended')) });
    assert.equal((await stand.settled('l')).lastUpdateStatus, 'Successful');
    assert.deepEqual(await stand.invoke('l', 2), ['mended', '$LATEST', '$LATEST', 2]);
    await functions.delete('l');
  });

  test('versions keep their code and know their number, and aliases lead to them', async () => {
    const { functions } = stand.control;
    await functions.create(newFunction('v', await stand.receive(packageOf('one')), { publish: true }));
    assert.deepEqual((await stand.settled('v', '1')).state, 'Active');
    const again = await functions.publish('v', PUBLISH);
    assert.equal(again.version, 1, 'nothing has changed');
    await functions.updateCode('v', { ...CODE, code: await stand.receive(packageOf('two')) });
    await assert.rejects(functions.publish('v', PUBLISH), { code: 'conflict', message: /in progress/ });
    await stand.settled('v');
    assert.equal((await functions.publish('v', PUBLISH)).version, 2);
    await functions.createAlias('v', { name: 'live', version: 1, description: '', routing: null });
    assert.deepEqual(await stand.invoke('v', 0, 'live'), ['one', '1', '1', 0]);
    await functions.updateAlias('v', 'live', { ...ANY, version: 2 });
    assert.deepEqual(await stand.invoke('v', 0, 'live'), ['two', '2', '2', 0]);
    await assert.rejects(functions.deleteVersion('v', '2'), { code: 'conflict' });
    await restart();
    assert.deepEqual(await stand.invoke('v', 0, 'live'), ['two', '2', '2', 0]);
    assert.deepEqual(await stand.invoke('v', 0, '1'), ['one', '1', '1', 0]);
    await stand.control.functions.deleteVersion('v', '1');
    await assert.rejects(stand.invoke('v', 0, '1'), { code: 'function_not_found' });
    assert.equal(packages(), 1);
    await stand.control.functions.delete('v');
    assert.equal(packages(), 0);
  });

  test('an update that cannot be used leaves what answers, with the reason, also after a restart', async () => {
    await stand.control.functions.create(newFunction('b', await stand.receive(packageOf('good'))));
    await stand.settled('b');
    await stand.control.functions.updateCode('b', { ...CODE, code: await stand.receive(Buffer.from('no zip')) });
    const broken = await stand.settled('b');
    assert.deepEqual([broken.state, broken.lastUpdateStatus], ['Active', 'Failed']);
    assert.equal(broken.lastUpdateReason?.code, 'InvalidZipFileException');
    assert.deepEqual(await stand.invoke('b', 0), ['good', '$LATEST', '$LATEST', 0]);
    await restart();
    assert.deepEqual(await stand.invoke('b', 0), ['good', '$LATEST', '$LATEST', 0]);
    assert.equal(stand.control.functions.describe('b', null).lastUpdateReason?.code, 'InvalidZipFileException');
    await stand.control.functions.updateCode('b', { ...CODE, code: await stand.receive(packageOf('mended')) });
    assert.equal((await stand.settled('b')).lastUpdateStatus, 'Successful');
    assert.deepEqual(await stand.invoke('b', 0), ['mended', '$LATEST', '$LATEST', 0]);
    await stand.control.functions.delete('b');
    assert.equal(packages(), 0);
  });

  test('a deployment that a restart came into is taken up again', async () => {
    await stand.control.functions.create(newFunction('t', await stand.receive(packageOf('one'))));
    await restart();
    assert.deepEqual(await stand.invoke('t', 0), ['one', '$LATEST', '$LATEST', 0]);
    await stand.settled('t');
    await stand.control.functions.updateCode('t', { ...CODE, code: await stand.receive(packageOf('two')) });
    await restart();
    assert.equal((await stand.settled('t')).lastUpdateStatus, 'Successful');
    assert.deepEqual(await stand.invoke('t', 0), ['two', '$LATEST', '$LATEST', 0]);
    await stand.control.functions.delete('t');
  });

  test('of changes at once on one name, one is done and the others are told', async () => {
    const received = await Promise.all(['a', 'b', 'c'].map((text) => stand.receive(packageOf(text))));
    const { functions } = stand.control;
    const creating = received.map((code) => functions.create(newFunction('c', code)));
    // At once as well: it finds what the first of them has begun.
    const updating = assert.rejects(functions.updateConfiguration('c', { settings: {}, revisionId: null }), {
      code: 'conflict',
      message: /currently in the following state: Pending/,
    });
    const made = await Promise.allSettled(creating);
    await updating;
    assert.deepEqual(made.map(({ status }) => status).sort(), ['fulfilled', 'rejected', 'rejected']);
    for (const one of received) await one.discard();
    assert.equal(packages(), 1);
    await stand.settled('c');
    const stale = { settings: { memoryMib: 256 }, revisionId: 'another' };
    await assert.rejects(stand.control.functions.updateConfiguration('c', stale), { code: 'precondition_failed' });
    await stand.control.functions.delete('c');
    await assert.rejects(stand.control.functions.delete('c'), { code: 'not_found' });
  });

  test('a reserved concurrency of none lets nobody in, until it is taken away', async () => {
    await stand.control.functions.create(newFunction('r', await stand.receive(packageOf('one'))));
    await stand.settled('r');
    await stand.control.functions.setReservedConcurrency('r', 0);
    await assert.rejects(stand.invoke('r', 0), { code: 'resource_exhausted' });
    await restart();
    await stand.settled('r');
    await assert.rejects(stand.invoke('r', 0), { code: 'resource_exhausted' });
    await stand.control.functions.setReservedConcurrency('r', null);
    assert.deepEqual(await stand.invoke('r', 0), ['one', '$LATEST', '$LATEST', 0]);
    await stand.control.functions.delete('r');
  });

  test("a name of a YAML file is that file's", async () => {
    const code = await stand.receive(packageOf('one'));
    await assert.rejects(stand.control.functions.create(newFunction('of-a-file', code)), {
      code: 'conflict',
      message: /functions\.yaml/,
    });
    await code.discard();
    await assert.rejects(stand.control.functions.delete('of-a-file'), { code: 'conflict', message: /functions\.yaml/ });
    assert.equal(packages(), 0);
  });
});
