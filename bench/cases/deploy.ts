/**
 * What deploying takes: from a zip file to the first answer of its function, from a saved file to the first answer of the new code, what
 * other functions notice meanwhile, and a start with all that was deployed before.
 */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { Agent, get as request, type IncomingMessage } from 'node:http';
import { text as textOf } from 'node:stream/consumers';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { CreateFunctionCommand, UpdateFunctionCodeCommand, waitUntilFunctionUpdatedV2 } from '@aws-sdk/client-lambda';
import { openDataDirectory } from '../../src/control/data-directory.ts';
import { makeZip } from '../../test/packages/zip.ts';
import { functionRecord, versionRecord } from '../../test/registry/records.ts';
import { lambdaClient } from '../../test/support/lambda-client.ts';
import {
  createWorkspace,
  environment,
  SNAPCTR,
  startController,
  type RunningController,
  type TestFunction,
} from '../../test/support/snapctr.ts';
import { median, percentile, result, summary, type Benchmark, type Result } from '../result.ts';
import { ApiClient } from '../support/lambda-client.ts';
import { startProbed } from '../support/probed.ts';

const ROUNDS = 10;
const DEPLOYMENTS = 10;
const QUIET_REQUESTS = 1500;
const RECORDS = 10_000;
/** Written at a time. */
const AT_ONCE = 50;
const PATIENCE_MS = 60_000;
const PROBE_MS = 1100;

const ROLE = 'arn:aws:iam::000000000000:role/any';
const PATIENCE = { maxWaitTime: 60, minDelay: 1, maxDelay: 1 } as const;
const NEIGHBOUR: TestFunction = {
  ...{ name: 'neighbour', runtime: 'nodejs', keys: { handler: 'index.handler' } },
  files: { 'index.js': 'exports.handler = async (event) => event;\n' },
};

/** Other files in each run: what was made before is found again. */
const RUN = randomUUID();
const code = (answer: number): string => `exports.handler = async () => ${answer}; // ${RUN}\n`;
const packageOf = (answer: number): Buffer => makeZip([{ name: 'index.js', data: code(answer) }]);

export const deploy: Benchmark = {
  name: 'deploy',
  async run() {
    const workspace = createWorkspace([NEIGHBOUR]);
    const controller = await startController(workspace, { vmm: 'qemu', memoryMib: 1024, snapshots: true });
    const client = new ApiClient(controller.url);
    try {
      return [
        await fromZip(controller, client),
        await fromSave(controller, client, workspace.directory, environment(workspace)),
        await besideLoad(controller, client),
        ...(await withMany()),
      ];
    } finally {
      client.close();
      await controller.stop();
      workspace.remove();
    }
  },
};

/** Until a function answers this; answers of older code and of none are passed over. */
async function untilAnswers(client: ApiClient, name: string, wanted: number): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const body = await client.invoke(name, '{}').then(
      (timed) => timed.body.toString(),
      (error: unknown) => String(error),
    );
    if (body === String(wanted)) return;
    if (performance.now() > deadline) throw new Error(`${name} answers ${body}, not ${wanted}`);
    await sleep(20);
  }
}

async function fromZip({ url }: RunningController, client: ApiClient): Promise<Result> {
  const sdk = lambdaClient(url);
  const tookMs: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const FunctionName = `fresh-${round}`;
    const ZipFile = packageOf(round);
    const began = performance.now();
    await sdk.send(
      new CreateFunctionCommand({
        FunctionName,
        Role: ROLE,
        Runtime: 'nodejs24.x',
        Handler: 'index.handler',
        Code: { ZipFile },
      }),
    );
    await untilAnswers(client, FunctionName, round);
    tookMs.push(performance.now() - began);
  }
  sdk.destroy();
  const bound = { at: 'most', value: 3000 } as const;
  return result(
    'deploy-zip',
    median(tookMs),
    'ms',
    bound,
    tookMs,
    `CreateFunction to the first answer: ${summary(tookMs)}`,
  );
}

/** `snapctr dev`, whose first deployment is not counted. */
async function fromSave(
  { url }: RunningController,
  client: ApiClient,
  workspace: string,
  env: NodeJS.ProcessEnv,
): Promise<Result> {
  const directory = join(workspace, 'saved');
  mkdirSync(directory);
  const save = (answer: number): void => writeFileSync(join(directory, 'index.js'), code(answer));
  save(0);
  const dev = spawn(process.execPath, [SNAPCTR, 'dev', directory, '--name', 'saved', '--endpoint', url], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env,
  });
  const said: string[] = [];
  for (const stream of [dev.stdout, dev.stderr])
    createInterface({ input: stream }).on('line', (line) => said.push(line));
  const ended = once(dev, 'exit');
  const tookMs: number[] = [];
  try {
    await untilAnswers(client, 'saved', 0).catch((error: unknown) => {
      throw new Error(`${String(error)}; snapctr dev said: ${said.join(' | ')}`);
    });
    for (let round = 1; round <= ROUNDS; round += 1) {
      await sleep(1000);
      const began = performance.now();
      save(round);
      await untilAnswers(client, 'saved', round);
      tookMs.push(performance.now() - began);
    }
  } finally {
    dev.kill('SIGINT');
    await ended;
  }
  const bound = { at: 'most', value: 2500 } as const;
  return result('deploy-save', median(tookMs), 'ms', bound, tookMs, `saved file to the new answer: ${summary(tookMs)}`);
}

/** Warm requests of another function, one after the other, quiet and while one deployment follows the other. */
async function besideLoad({ url }: RunningController, client: ApiClient): Promise<Result> {
  const sdk = lambdaClient(url);
  const request = async (): Promise<number> => (await client.invoke('neighbour', '{}')).tookMs;
  for (let i = 0; i < 300; i += 1) await request();
  const quiet: number[] = [];
  for (let i = 0; i < QUIET_REQUESTS; i += 1) quiet.push(await request());
  const deployment = { isOver: false };
  const deploying = (async () => {
    const FunctionName = 'fresh-0';
    for (let round = 1; round <= DEPLOYMENTS; round += 1) {
      await sdk.send(new UpdateFunctionCodeCommand({ FunctionName, ZipFile: packageOf(1000 + round) }));
      await waitUntilFunctionUpdatedV2({ client: sdk, ...PATIENCE }, { FunctionName });
    }
  })().finally(() => (deployment.isOver = true));
  const beside: number[] = [];
  while (!deployment.isOver) beside.push(await request());
  await deploying;
  sdk.destroy();
  const ratio = percentile(beside, 99) / percentile(quiet, 99);
  const note = `ms, warm requests of another function: quiet ${summary(quiet)}; beside ${DEPLOYMENTS} deployments ${summary(beside)}`;
  return result('deploy-beside-load', ratio, 'ratio', { at: 'most', value: 3 }, [ratio], note);
}

/** A start with so many functions that were made over the API, which share packages. */
async function withMany(): Promise<Result[]> {
  const workspace = createWorkspace([NEIGHBOUR]);
  const data = join(workspace.directory, 'many');
  await fill(data);
  const args = ['--data-dir', data];
  const start = (): ReturnType<typeof startProbed> =>
    startProbed(workspace, { vmm: 'process', memoryMib: 512, args, deployed: false });
  // The first one unpacks the packages.
  const first = await start();
  await first.until(({ deploying }) => deploying === 0, 600_000);
  await first.stop();
  const began = performance.now();
  const controller = await start();
  const listeningMs = performance.now() - began;
  const servingSince = Date.now();
  try {
    await controller.until(({ deploying }) => deploying === 0, 600_000);
    const listMs: number[] = [];
    for (let round = 0; round < 5; round += 1) listMs.push(await listAll(controller.url));
    await sleep(PROBE_MS);
    const pauses = controller
      .samples('snapctr')
      .flatMap(({ at, pauseMs }) => (at - PROBE_MS > servingSince ? [pauseMs] : []));
    return [
      result(
        'deploy-many-listening',
        listeningMs,
        'ms',
        { at: 'most', value: 2000 },
        [],
        `${RECORDS} functions in the data directory`,
      ),
      result(
        'deploy-many-list',
        median(listMs),
        'ms',
        { at: 'most', value: 200 },
        listMs,
        'all pages of ListFunctions',
      ),
      result(
        'deploy-many-pause',
        Math.max(...pauses),
        'ms',
        { at: 'most', value: 20 },
        pauses,
        'the longest pause of snapctr from when it listens',
      ),
    ];
  } finally {
    await controller.stop();
    workspace.remove();
  }
}

async function fill(directory: string): Promise<void> {
  const { records, packages, close } = await openDataDirectory(directory);
  try {
    const received = await packages.receive(Readable.from([packageOf(1)]));
    await received.keep();
    const { sha256, bytes } = received;
    const { settings } = versionRecord();
    const latest = versionRecord({
      settings: { ...settings, runtime: 'nodejs24.x', handler: 'index.handler', layers: [] },
      code: { sha256, bytes },
    });
    const nothing = { wanted: null, published: [], lastNumber: 0, aliases: [], policies: {}, provisioned: {} };
    const put = (i: number): Promise<void> =>
      records.functions.put(functionRecord(`made-${i}`, { latest, ...nothing, reservedConcurrency: null }));
    for (let from = 0; from < RECORDS; from += AT_ONCE) {
      await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => put(from + i)));
    }
  } finally {
    await close();
  }
}

/** @returns how long it took, in ms. */
async function listAll(url: string): Promise<number> {
  const began = performance.now();
  const agent = new Agent({ keepAlive: true });
  let count = 0;
  let marker = '';
  do {
    const query = marker === '' ? '' : `&Marker=${encodeURIComponent(marker)}`;
    const text = await get(`${url}/2015-03-31/functions?MaxItems=10000${query}`, agent);
    const page = JSON.parse(text) as { readonly Functions: readonly unknown[]; readonly NextMarker?: string };
    count += page.Functions.length;
    marker = page.NextMarker ?? '';
  } while (marker !== '');
  agent.destroy();
  if (count !== RECORDS + 1) throw new Error(`${count} functions were listed`);
  return performance.now() - began;
}

/** `fetch` takes longer than what is measured. */
async function get(url: string, agent: Agent): Promise<string> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request(url, { agent }, resolve).once('error', reject);
  });
  return textOf(response);
}
