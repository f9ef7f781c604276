/** `snapctr workload` and `snapctr replay`, as in docs/workloads.md. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { ReplaySummary } from '../../src/workload/replay-report.ts';
import { createWorkspace, run, SNAPCTR, startController } from '../support/snapctr.ts';

const workspace = createWorkspace([]);
after(() => workspace.remove());
const directory = join(workspace.directory, 'day');
const snapctr = (...args: readonly string[]) => run(SNAPCTR, args, { workspace });

test('workload: what is generated runs on a controller, and replay tells how long it took', async () => {
  const made = await snapctr(
    'workload',
    'generate',
    directory,
    '--functions',
    '4',
    '--minutes',
    '1',
    '--rate',
    '1',
    '--json',
  );
  assert.equal(made.status, 0, made.stderr);
  const { requests, functions } = JSON.parse(made.stdout) as { requests: number; functions: number };
  assert.ok(functions === 4 && requests > 10, made.stdout);
  const controller = await startController(
    { ...workspace, config: join(directory, 'controller.yaml') },
    { vmm: 'process' },
  );
  try {
    const files = [join(workspace.directory, 'report.json'), join(workspace.directory, 'report.svg')] as const;
    const replayed = await snapctr(
      ...['replay', join(directory, 'requests.json'), '--endpoint', controller.url, '--speed', '10'],
      ...['--report', files[0], '--chart', files[1]],
    );
    assert.equal(replayed.status, 0, replayed.stderr + replayed.stdout);
    assert.match(replayed.stdout, /^\d+ requests in [\d.]+ s, \d+ answered well\n/);
    const summary = JSON.parse(readFileSync(files[0], 'utf8')) as ReplaySummary;
    assert.deepEqual([summary.requests, summary.ok, summary.failed], [requests, requests, {}]);
    assert.ok((summary.by_start['cold']?.count ?? 0) >= 1 && (summary.by_start['warm']?.count ?? 0) >= 1);
    assert.match(readFileSync(files[1], 'utf8'), /^<svg [^]*memory of VMs, MiB/);
    const unknown = join(workspace.directory, 'unknown.json');
    writeFileSync(unknown, '{"time":0,"function":"nobody","payload":{}}\n');
    const failed = await snapctr('replay', unknown, '--endpoint', controller.url, '--json');
    assert.deepEqual(
      [failed.status, (JSON.parse(failed.stdout) as ReplaySummary).failed],
      [1, { function_not_found: 1 }],
    );
  } finally {
    await controller.stop();
  }
});

test('workload: a simulation compares orders of eviction, and writes what became of each VM', async () => {
  const simulated = join(workspace.directory, 'simulated');
  const shape = ['--functions', '10', '--minutes', '5', '--rate', '2'];
  assert.equal((await snapctr('workload', 'generate', simulated, ...shape)).status, 0);
  const files = ['report.json', 'chart.svg', 'vms.jsonl'].map((name) => join(simulated, name));
  const [report = '', picture = '', vms = ''] = files;
  const { status, stdout, stderr } = await snapctr(
    ...['simulate', simulated, '--mem', '1024', '--report', report, '--chart', picture, '--vms', vms],
  );
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^KEEP-ALIVE .*\ndemand .*\ngreedy-dual .*\nlru /);
  const [first] = JSON.parse(readFileSync(report, 'utf8')) as readonly {
    readonly order: string;
    readonly launches: number;
  }[];
  assert.equal(first?.order, 'demand');
  assert.equal(readFileSync(vms, 'utf8').trim().split('\n').length, first.launches);
  assert.match(readFileSync(picture, 'utf8'), /^<svg [^]*memory of VMs, MiB/);
  for (const [args, why] of [
    [['--mem', '1024', '--keep-alive', 'mru'], /Expected some of demand, greedy-dual, lru/],
    [['--mem', '1024', '--standby', '2048'], /--standby 2048: it is a part of --mem 1024/],
    [['--mem', '128'], /--mem 128: the largest function has \d+ MB/],
    [['--mem', '1024', '--vms', '/nonexistent/vms'], /\/nonexistent\/vms cannot be written: .*ENOENT/],
    [[], /required option '--mem <mb>'/],
  ] as const) {
    const refused = await snapctr('simulate', simulated, ...args);
    assert.equal(refused.status, 2, refused.stderr);
    assert.match(refused.stderr, why);
  }
});

test('workload: traces of Azure become requests; what is none is refused with its line', async () => {
  const trace = join(workspace.directory, 'azure.csv');
  writeFileSync(trace, 'app,func,end_timestamp,duration\na,f,10,1\na,g,11,0.5\n');
  const { status, stderr } = await snapctr('workload', 'import', trace, join(workspace.directory, 'azure'));
  assert.equal(status, 0, stderr);
  assert.equal(
    readFileSync(join(workspace.directory, 'azure', 'requests.json'), 'utf8'),
    '{"time":0,"user_id":1,"function":"f1","payload":{"run_ms":1000}}\n{"time":1500,"user_id":1,"function":"f2","payload":{"run_ms":500}}\n',
  );
  writeFileSync(trace, 'app,func,end_timestamp,duration\na,f,10\n');
  const refused = await snapctr('workload', 'import', trace, join(workspace.directory, 'azure'));
  assert.deepEqual([refused.status, /line 2/.test(refused.stderr)], [2, true]);
});

const badInput: readonly (readonly [what: string, args: readonly string[], message: RegExp])[] = [
  ['a file that is not there', ['replay', '/nowhere/requests.json'], /\/nowhere\/requests.json cannot be read/],
  ['a trace that is not there', ['workload', 'import', '/nowhere.csv', 'x'], /\/nowhere.csv cannot be read/],
  ['no functions', ['workload', 'generate', 'x', '--functions', '0'], /whole number from 1/],
  ['no rate', ['workload', 'generate', 'x', '--rate', '0'], /number above 0/],
  [
    'more than fits',
    ['workload', 'generate', 'x', '--rate', '100000', '--minutes', '100'],
    /more than 10000000 requests/,
  ],
  ['a directory that cannot be made', ['workload', 'generate', '/proc/x'], /\/proc\/x cannot be written/],
];
for (const [what, args, message] of badInput) {
  test(`workload: ${what} is refused with status 2`, async () => {
    const { status, stderr } = await snapctr(...args);
    assert.equal(status, 2, stderr);
    assert.match(stderr, message);
  });
}
