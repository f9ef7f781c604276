/** What Firecracker is told of taps, which the stand-in for it holds as it would. No packet moves. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parseJournal } from '../support/firecracker/journal.ts';
import { source } from '../support/functions.ts';
import { createNamespace, namespaceProblem, type NetworkNamespace } from '../support/network-namespace.ts';
import {
  assertNothingLeft,
  createWorkspace,
  SNAPCTR,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';
import { startOf } from '../support/snapshots.ts';

const problem = namespaceProblem();
if (problem !== null) process.stderr.write(`taps under Firecracker are not tested: ${problem}\n`);

const SLEEPER = `
import time
def handle(request):
    time.sleep(request / 1000)
    return request
`;

describe('networks of VMs, fake-firecracker', { skip: problem ?? false, timeout: 120_000 }, () => {
  let namespace: NetworkNamespace;
  let workspace: Workspace;
  let controller: RunningController | null = null;

  before(async () => {
    namespace = createNamespace();
    workspace = createWorkspace(
      [source('sleeper', 'python3', SLEEPER, { network: true })],
      // None waits for a VM to load: each is one of a VM, and counted as such.
      ['firecracker: {prestarted: 0}', 'network: {taps: [sf0, sf1], subnet: 10.200.0.0/24}', 'snapshot_dir: layers'],
    );
    const up = namespace.run(process.execPath, SNAPCTR, 'network', 'up', '--config', workspace.config);
    assert.equal(up.status, 0, up.stderr);
    controller = await startController(workspace, {
      ...{ vmm: 'fake-firecracker', namespace, snapshots: true },
      env: { FAKE_FIRECRACKER_JOURNAL: journal(), FAKE_FIRECRACKER_TAP_LOCKS: join(workspace.directory, 'taps') },
    });
  });
  after(async () => {
    try {
      controller?.kill('SIGKILL');
      await controller?.exited;
      await assertNothingLeft(workspace);
      workspace.remove();
    } finally {
      namespace.remove();
    }
  });

  const journal = (): string => join(workspace.directory, 'journal.jsonl');
  /** Bodies of the requests to that path which were taken. */
  const told = (path: string): readonly unknown[] =>
    parseJournal(readFileSync(journal(), 'utf8'))
      .filter((line) => line.event === 'request' && line['path'] === path && line['status'] === 204)
      .map((line) => JSON.parse(String(line['body'])) as unknown);
  const running = (): RunningController => controller ?? assert.fail('no controller');

  test('a layer is made on the first tap, and its card has the MAC of that tap', () => {
    assert.deepEqual(told('/network-interfaces/eth0'), [
      { iface_id: 'eth0', guest_mac: '02:00:0a:c8:00:01', host_dev_name: 'sf0' },
    ]);
  });

  test('each VM that is restored is told its own tap, and no third one is begun', async () => {
    const before = told('/snapshot/load').length;
    const busy = [running().invoke('sleeper', 3000), running().invoke('sleeper', 3000)];
    await running().until(({ vms }) => vms['sleeper']?.busy === 2, 30_000);
    const third = running().invoke('sleeper', 0);
    for (const answer of await Promise.all(busy)) assert.deepEqual([answer.body, startOf(answer)], [3000, 'restored']);
    assert.equal(startOf(await third), 'warm');
    const overrides = told('/snapshot/load')
      .slice(before)
      .map((body) => (body as { readonly network_overrides: unknown }).network_overrides);
    assert.deepEqual(
      overrides.map((override) => JSON.stringify(override)).sort(),
      ['sf0', 'sf1'].map((name) => JSON.stringify([{ iface_id: 'eth0', host_dev_name: name }])),
    );
  });

  test('the tap of a VM that dies is given to the next one', async () => {
    const before = told('/snapshot/load').length;
    const { vms } = await running().status();
    assert.deepEqual(vms, { sleeper: { idle: 2 } });
    const lost = parseJournal(readFileSync(journal(), 'utf8')).findLast(({ event }) => event === 'load');
    process.kill(lost?.pid ?? 0, 'SIGKILL');
    await running().until((status) => status.vms['sleeper']?.idle === 1);
    // Longer than a restore takes: otherwise the second one would get the VM of the first.
    const answers = await Promise.all([running().invoke('sleeper', 4000), running().invoke('sleeper', 4000)]);
    assert.deepEqual(answers.map(startOf).sort(), ['restored', 'warm']);
    assert.equal(told('/snapshot/load').length, before + 1);
  });
});
