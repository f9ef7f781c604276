/** `snapctr --vm-records`, as in docs/workloads.md. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { VmRecord } from '../../src/controller/pool/vm-life.ts';
import { createWorkspace, run, SNAPCTR, startController } from '../support/snapctr.ts';

const HANDLER = `import os
def handle(request):
    if request == 'exit':
        os._exit(3)
    return request
`;

const workspace = createWorkspace([
  { name: 'one', runtime: 'python3', files: { 'workload.py': HANDLER } },
  { name: 'other', runtime: 'python3', files: { 'workload.py': HANDLER } },
  { name: 'broken', runtime: 'python3', files: { 'workload.py': 'import os\nos._exit(1)\n' } },
]);
after(() => workspace.remove());

test('VM records: a line for each VM with its launch, uses and end; an evicted one says for whom', async () => {
  const file = join(workspace.directory, 'vms.jsonl');
  const beganAt = Date.now();
  const controller = await startController(workspace, {
    vmm: 'process',
    memoryMib: 128,
    args: ['--vm-records', file],
  });
  for (const [name, payload] of [
    ['one', 1],
    ['one', 2],
    ['other', 3],
    ['other', 'exit'],
    ['broken', 4],
    ['one', 5],
  ] as const)
    await controller.invoke(name, payload);
  assert.equal(await controller.stop(), 0);
  const records = readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as VmRecord);
  assert.deepEqual(
    records.map((record) => [record.function, record.uses, record.start, record.evicted, record.memory_mib]),
    [
      ['one', 2, 'cold', true, 128],
      ['other', 2, 'cold', false, 128],
      ['broken', 0, null, false, 128],
      ['one', 1, 'cold', false, 128],
    ],
  );
  const [evicted, exited, broken, last] = records.map(({ end }) => end);
  assert.equal(evicted, 'other');
  assert.match(exited ?? '', /exit|its process ended/);
  assert.equal(broken, 'its launch failed');
  assert.equal(last, 'the controller shut down');
  for (const record of records) {
    const { launched_ms, ready_ms, first_use_ms, last_use_ms, busy_ms, idle_ms, ended_ms } = record;
    const times = [beganAt - 1, launched_ms, ready_ms, first_use_ms, last_use_ms, ended_ms, Date.now() + 1];
    const known = times.filter((time) => time !== null);
    assert.deepEqual(
      known,
      [...known].sort((a, b) => a - b),
      JSON.stringify(record),
    );
    assert.ok(busy_ms >= 0 && idle_ms >= 0 && busy_ms + idle_ms <= ended_ms - launched_ms, JSON.stringify(record));
  }
});

test('VM records: a file that cannot be written is told at the start', async () => {
  const { status, stderr } = await run(
    SNAPCTR,
    ['--config', workspace.config, '--mem', '128', '--port', '0', '--vm-records', '/nonexistent/vms.jsonl'],
    { workspace },
  );
  assert.equal(status, 2);
  assert.match(stderr, /--vm-records: \/nonexistent\/vms\.jsonl cannot be written: .*ENOENT.*; name another file/);
});
