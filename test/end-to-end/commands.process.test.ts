/** The commands for functions against a running controller, from the first deployment to the last. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startProgram } from '../support/program.ts';
import {
  createWorkspace,
  run,
  SNAPCTR,
  startController,
  type Finished,
  type RunningController,
} from '../support/snapctr.ts';
import { until } from './processes.ts';

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

/** It ends well. @returns its lines on stdout. */
async function lines(...args: readonly string[]): Promise<readonly string[]> {
  const { status, stdout, stderr } = await snapctr(...args);
  assert.equal(status, 0, stderr);
  return stdout.trimEnd().split('\n');
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

test('versions and aliases are shown, weighted, rolled back and removed', async () => {
  for (const word of ['one', 'two', 'three']) {
    write(word);
    await lines('deploy', directory, '--name', 'kept', '--publish', '--description', `it says ${word}`);
  }
  await lines('alias', 'set', 'kept', 'live', '2', '--description', 'for all');
  assert.deepEqual(await lines('alias', 'set', 'kept', 'canary', '2', '--weight', '3=0.25'), [
    'kept:canary is version 2, 25 % version 3',
  ]);
  assert.deepEqual((await lines('alias', 'list', 'kept')).toSorted(), [
    'canary: version 2, 25 % version 3',
    'live: version 2  for all',
  ]);
  const told = (await json('alias', 'list', 'kept')) as readonly Readonly<Record<string, unknown>>[];
  const canary = told.find(({ Name }) => Name === 'canary');
  assert.deepEqual(canary?.['RoutingConfig'], { AdditionalVersionWeights: { '3': 0.25 } });

  const [heading, ...rows] = await lines('versions', 'kept');
  assert.match(heading ?? '', /^VERSION +ALIASES +CHANGED +CODE +DESCRIPTION$/);
  assert.deepEqual(
    rows.map((row) => row.split(/ {2,}/)[0]),
    ['$LATEST', '1', '2', '3'],
  );
  assert.match(rows[2] ?? '', /^2 +(live,canary|canary,live) .* it says two$/);
  const { versions, aliases } = (await json('versions', 'kept')) as Readonly<Record<string, readonly unknown[]>>;
  assert.deepEqual([versions?.length, aliases?.length], [4, 2]);

  const latest = await lines('describe', 'kept');
  for (const line of [/^name: +kept$/, /^version: +\$LATEST$/, /^state: +Active$/, /^last update: +Successful$/]) {
    assert.ok(
      latest.some((one) => line.test(one)),
      `${String(line)} of\n${latest.join('\n')}`,
    );
  }
  assert.ok((await lines('describe', 'kept', '--qualifier', 'live')).includes('description:  it says two'));
  const described = (await json('describe', 'kept', '--qualifier', '1')) as { Configuration: { Version: string } };
  assert.equal(described.Configuration.Version, '1');

  // Of one version, by its qualifier and by its name.
  const byQualifier = (await lines('invoke', 'kept', '--qualifier', '1')).join('');
  assert.deepEqual(JSON.parse(byQualifier), ['one', {}]);
  assert.equal(await answerOf('kept:2'), 'two');
  assert.deepEqual(await lines('rollback', 'kept', '--alias', 'live'), ['kept:live is version 1 now']);
  assert.equal(await answerOf('kept:live'), 'one');
  assert.equal(await answerOf('kept'), 'three');
  const first = await snapctr('rollback', 'kept', '--alias', 'live');
  assert.deepEqual([first.status, /has no version before 1/.test(first.stderr)], [2, true], first.stderr);
  assert.deepEqual(await lines('rollback', 'kept', '--alias', 'live', '--to', '3'), ['kept:live is version 3 now']);

  const named = await snapctr('delete', 'kept', '--qualifier', '2');
  assert.deepEqual([named.status, /ResourceConflictException.*canary/.test(named.stderr)], [1, true], named.stderr);
  assert.deepEqual(await lines('alias', 'remove', 'kept', 'canary'), ['removed kept:canary']);
  assert.deepEqual(await lines('delete', 'kept', '--qualifier', '2'), ['deleted version 2 of kept']);
  const left = (await json('versions', 'kept')) as { versions: readonly { Version: string }[] };
  assert.deepEqual(
    left.versions.map(({ Version }) => Version),
    ['$LATEST', '1', '3'],
  );
  for (const [args, words] of [
    [['alias', 'set', 'kept', 'live', 'newest'], /"newest" is no version, .*; kept has 1, 3/],
    [['alias', 'set', 'kept', 'live', '1', '--weight', '3=2'], /Expected VERSION=SHARE/],
  ] as const) {
    const refused = await snapctr(...args);
    assert.deepEqual([refused.status, words.test(refused.stderr)], [2, true], refused.stderr);
  }
  await lines('delete', 'kept');
});

test('invoke takes stdin, shows what was printed, and need not wait', async () => {
  writeFileSync(
    join(directory, 'index.mjs'),
    'export const handler = async (event) => { console.log("printed", event.n); return event; };\n',
  );
  await lines('deploy', directory, '--name', 'talking');
  const options = { workspace, stdin: '{"n": 41}' };
  const piped = await run(SNAPCTR, ['invoke', 'talking', '--payload', '-', '--endpoint', controller.url], options);
  assert.deepEqual([piped.status, piped.stdout], [0, '{"n":41}\n'], piped.stderr);
  const logged = await snapctr('invoke', 'talking', '--payload', '{"n":42}', '--log');
  assert.deepEqual([logged.status, logged.stdout], [0, '{"n":42}\n'], logged.stderr);
  assert.match(logged.stderr, /^START RequestId: [^]*\bprinted 42\n[^]*^REPORT RequestId: /m);
  assert.doesNotMatch(piped.stderr, /printed/);
  const file = join(directory, 'event.json');
  writeFileSync(file, '{"n": 43}');
  assert.deepEqual(await lines('invoke', 'talking', '--payload', file), ['{"n":43}']);

  const [accepted = ''] = await lines('invoke', 'talking', '--async', '--payload', '{"n":44}');
  const [, id] = /^accepted, request ([0-9a-f-]{36})$/.exec(accepted) ?? [];
  assert.ok(id !== undefined, accepted);
  await until('it is run', async () => (await lines('logs', 'talking')).some((line) => line.includes('printed 44')));
  const both = await snapctr('invoke', 'talking', '--async', '--log');
  assert.deepEqual([both.status, /leave one out/.test(both.stderr)], [2, true], both.stderr);
  const noJson = await run(SNAPCTR, ['invoke', 'talking', '--payload', '-', '--endpoint', controller.url], {
    ...options,
    stdin: '{"n"',
  });
  assert.deepEqual([noJson.status, /stdin is not JSON/.test(noJson.stderr)], [2, true], noJson.stderr);
});

test('SNAPFAAS_ENDPOINT names the controller, and --endpoint another one', async () => {
  const list = async (endpoint: string, ...args: readonly string[]): Promise<Finished> => {
    const env = { SNAPFAAS_ENDPOINT: endpoint };
    return startProgram(SNAPCTR, ['list', '--json', ...args], { workspace, env }).finished;
  };
  const found = await list(controller.url);
  assert.equal(found.status, 0, found.stderr);
  assert.ok((JSON.parse(found.stdout) as readonly { FunctionName: string }[]).length > 0);
  assert.match((await list('http://127.0.0.1:1')).stderr, /nobody listens on http:\/\/127\.0\.0\.1:1/);
  assert.equal((await list('http://127.0.0.1:1', '--endpoint', controller.url)).status, 0);
  const none = await list('127.0.0.1:1');
  assert.deepEqual([none.status, /is no URL; write it as in/.test(none.stderr)], [2, true], none.stderr);
});

test('a deployment that fails has status 1 and the reason, and the version before goes on', async () => {
  write('good');
  await lines('deploy', directory, '--name', 'fragile');
  writeFileSync(
    join(directory, 'index.mjs'),
    'import "nothing-of-that-name";\nexport const handler = async () => 1;\n',
  );
  const failed = await snapctr('deploy', directory, '--name', 'fragile', '--json');
  assert.equal(failed.status, 1, failed.stderr);
  assert.match(failed.stderr, /nothing-of-that-name/);
  const { error } = JSON.parse(failed.stdout) as { error: { code: string; message: string } };
  assert.equal(error.code, 'not_deployed');
  assert.match(error.message, /nothing-of-that-name/);
  assert.equal(await answerOf('fragile'), 'good');
  const described = await lines('describe', 'fragile');
  assert.ok(
    described.some((line) => /^last update: +Failed \(.*nothing-of-that-name/.test(line)),
    described.join('\n'),
  );
});
