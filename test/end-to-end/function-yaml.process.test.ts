/** The keys `url` and `events` of `function.yaml`, as `snapctr deploy` sets them at a running controller. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  createWorkspace,
  run,
  SNAPCTR,
  startController,
  type Finished,
  type RunningController,
} from '../support/snapctr.ts';

const PATIENCE_MS = 60_000;
const CODE = `exports.handler = async (event) => {
  if (event.fails) throw new Error('no');
  return { statusCode: 200, headers: { 'access-control-allow-origin': 'its own' }, body: 'hello' };
};
`;
const filed = {
  name: 'filed',
  runtime: 'nodejs' as const,
  keys: { handler: 'index.handler' },
  files: { 'index.js': CODE },
};
const workspace = createWorkspace([filed]);
const kept = join(workspace.directory, 'kept');
let controller: RunningController;

before(async () => {
  controller = await startController(workspace, { vmm: 'process', args: ['--data-dir', kept] });
});
after(async () => {
  await controller.stop();
  workspace.remove();
});

function deploy(name: string, yaml: string, ...flags: readonly string[]): Promise<Finished> {
  const directory = join(workspace.directory, name);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'index.js'), CODE);
  writeFileSync(join(directory, 'function.yaml'), yaml);
  return run(SNAPCTR, ['deploy', directory, ...flags, '--endpoint', controller.url], { workspace });
}

interface Shown {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

async function api(path: string): Promise<Shown> {
  const answer = await fetch(`${controller.url}${path}`);
  return { status: answer.status, body: (await answer.json()) as Shown['body'] };
}

const urlOf = (name: string): Promise<Shown> => api(`/2021-10-31/functions/${name}/url`);
const eventsOf = (name: string): Promise<Shown> => api(`/2019-09-25/functions/${name}/event-invoke-config`);

async function deployed(name: string, yaml: string, ...flags: readonly string[]): Promise<readonly string[]> {
  const { status, stdout, stderr } = await deploy(name, yaml, ...flags);
  assert.equal(status, 0, stderr);
  return stdout.trimEnd().split('\n').slice(1);
}

async function allowedOrigin(name: string): Promise<string | null> {
  const answer = await fetch(`${controller.url}/url/${name}/`, { headers: { origin: 'https://a.example' } });
  assert.deepEqual([answer.status, await answer.text()], [200, 'hello']);
  return answer.headers.get('access-control-allow-origin');
}

test('function.yaml: `url` gives the function an address, and says all of it each time', async () => {
  const [first = '', ...others] = await deployed(
    'shop',
    'url: {auth: none, cors: {allow_origins: ["https://*.example"]}}\n',
  );
  assert.match(first, /^http:\/\/[a-z0-9]{32}\.lambda-url\.us-east-1\.localhost:\d+\/$/);
  assert.deepEqual(others, []);
  assert.equal(await allowedOrigin('shop'), 'https://a.example');

  // Without the key it stays; with it, what is left out is the default again.
  assert.deepEqual(await deployed('shop', 'memory: 256\n'), []);
  assert.equal(await allowedOrigin('shop'), 'https://a.example');
  assert.deepEqual(await deployed('shop', 'url: {auth: none, invoke_mode: response_stream}\n'), [first]);
  const { body } = await urlOf('shop');
  assert.deepEqual([body['AuthType'], body['InvokeMode'], body['Cors']], ['NONE', 'RESPONSE_STREAM', undefined]);
  assert.deepEqual(await deployed('shop', 'url: {auth: none}\n'), [first]);
  assert.equal(await allowedOrigin('shop'), 'its own');

  const { status, stdout } = await deploy('shop', 'url: {auth: aws_iam}\n', '--alias', 'live', '--json');
  const told = JSON.parse(stdout) as { readonly url: unknown; readonly alias: unknown };
  assert.deepEqual([status, told.url], [0, (await urlOf('shop')).body]);
  assert.equal((await fetch(`${controller.url}/url/shop/`)).status, 403);
  assert.equal((await api('/2021-10-31/functions/shop/url?Qualifier=live')).status, 404);
});

test('function.yaml: `events` says how events are tried, and who is told', async () => {
  const file = 'failed.jsonl';
  assert.deepEqual(
    await deployed('worker', `events: {retries: 0, max_age: 60, on_failure: "file:${file}", on_success: shop}\n`),
    [],
  );
  const expected = {
    MaximumRetryAttempts: 0,
    MaximumEventAgeInSeconds: 60,
    DestinationConfig: {
      OnSuccess: { Destination: 'arn:aws:lambda:us-east-1:000000000000:function:shop' },
      OnFailure: { Destination: `file:${file}` },
    },
  };
  const { body } = await eventsOf('worker');
  assert.deepEqual({ ...body, LastModified: 0, FunctionArn: '' }, { ...expected, LastModified: 0, FunctionArn: '' });
  const accepted = await fetch(`${controller.url}/2015-03-31/functions/worker/invocations`, {
    method: 'POST',
    headers: { 'x-amz-invocation-type': 'Event' },
    body: '{"fails":true}',
  });
  assert.equal(accepted.status, 202);
  const place = join(kept, 'destinations', file);
  for (const deadline = performance.now() + PATIENCE_MS; !existsSync(place); await sleep(50)) {
    assert.ok(performance.now() < deadline, controller.log.join('\n'));
  }
  assert.match(readFileSync(place, 'utf8'), /"fails":true/);

  assert.deepEqual(await deployed('worker', ''), []);
  assert.equal((await eventsOf('worker')).body['MaximumEventAgeInSeconds'], 60);
  await deployed('worker', 'events: {retries: 1}\n');
  const changed = (await eventsOf('worker')).body;
  assert.deepEqual(
    [changed['MaximumRetryAttempts'], changed['MaximumEventAgeInSeconds'], changed['DestinationConfig']],
    [1, undefined, { OnSuccess: {}, OnFailure: {} }],
  );
});

test('function.yaml: what `url` cannot be is told once, at its place, and nothing is deployed', async () => {
  const { status, stderr } = await deploy('refused', 'url: {auth: none, cors: {allow_methods: [get]}}\n');
  const place = join(workspace.directory, 'refused', 'function.yaml');
  const message = '`url.cors.allow_methods` has "get", which is not valid: an allowed method is one of';
  assert.equal(status, 2);
  assert.equal(stderr.slice(0, stderr.indexOf(' *')), `error: ${place}:1:41: ${message}`);
  assert.equal((await api('/2015-03-31/functions/refused')).status, 404);
});

test('function.yaml: what only the controller can refuse is told with its error, and the function is there', async () => {
  const { status, stderr } = await deploy('hopeful', 'events: {on_failure: nobody}\n');
  assert.equal(status, 1);
  assert.match(stderr, /error: ResourceNotFoundException: `events` of function\.yaml: Function not found: .*:nobody\n/);
  assert.equal((await api('/2015-03-31/functions/hopeful')).status, 200);
});
