/** Packages go to the disk while they come: what a large one costs of snapctr's memory is a small part of its size. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeZip } from '../packages/zip.ts';
import {
  assertNothingLeft,
  createWorkspace,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';
import { forgetPeak, peakBytes } from './memory-of.ts';

const FUNCTIONS = '/2015-03-31/functions';
const MEBIBYTE = 1024 * 1024;
const PACKAGE_BYTES = 45 * MEBIBYTE;
/**
 * Pieces of a body stay until they are collected: the first large one adds 20 to 30 MiB to the process, whatever its size, and that serves
 * for those after it, which were seen to add 1 to 8 MiB. Kept whole, one of them would add its 45 MB, and 60 MB in base64.
 */
const BOUND_BYTES = 16 * MEBIBYTE;
const WARM_UP_BYTES = 15 * MEBIBYTE;
const PATIENCE_MS = 120_000;

const settings = { Role: 'arn:aws:iam::000000000000:role/any', Runtime: 'python3.11', Handler: 'main.handle' };
const code = { name: 'main.py', data: 'def handle(e, c):\n    return "served"\n' };
const small = makeZip([code]);
/** Holds what cannot be compressed, and is not, as pictures and models in packages are. */
const packageOf = (bytes: number): Buffer =>
  makeZip([code, { name: 'large.bin', data: randomBytes(bytes), method: 0 }]);

describe('the memory that uploads take', { timeout: 600_000 }, () => {
  let workspace: Workspace;
  let snapctr: RunningController;

  before(async () => {
    workspace = createWorkspace([]);
    snapctr = await startController(workspace, { vmm: 'process' });
    await deploy('POST', '', { FunctionName: 'made', ...settings, Code: { ZipFile: small.toString('base64') } });
    await deploy('PUT', '/made/code', { ZipFile: packageOf(WARM_UP_BYTES).toString('base64') });
  });
  after(async () => {
    await snapctr.stop();
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  /** Sends it, and waits until it is deployed. @returns the digest that is told. */
  async function deploy(method: string, path: string, members: object): Promise<string> {
    const answer = await fetch(`${snapctr.url}${FUNCTIONS}${path}`, { method, body: JSON.stringify(members) });
    const text = await answer.text();
    assert.ok(answer.ok, text);
    const { FunctionName } = JSON.parse(text) as { readonly FunctionName: string };
    for (const deadline = performance.now() + PATIENCE_MS; ; await sleep(100)) {
      const now = await fetch(`${snapctr.url}${FUNCTIONS}/${FunctionName}/configuration`);
      const { State, LastUpdateStatus, CodeSha256 } = (await now.json()) as Readonly<Record<string, string>>;
      if (State === 'Active' && LastUpdateStatus === 'Successful') return CodeSha256 ?? '';
      assert.ok(State !== 'Failed' && LastUpdateStatus !== 'Failed', snapctr.log.join('\n'));
      assert.ok(performance.now() < deadline, snapctr.log.join('\n'));
    }
  }

  for (const [operation, method, path, membersOf] of [
    ['CreateFunction', 'POST', '', (ZipFile: string) => ({ FunctionName: 'large', ...settings, Code: { ZipFile } })],
    ['UpdateFunctionCode', 'PUT', '/made/code', (ZipFile: string) => ({ ZipFile })],
  ] as const) {
    test(`${operation} with a package of 45 MB`, async () => {
      const zip = packageOf(PACKAGE_BYTES);
      forgetPeak(snapctr.pid);
      const before = peakBytes(snapctr.pid);
      const digest = await deploy(method, path, membersOf(zip.toString('base64')));
      const grownBytes = peakBytes(snapctr.pid) - before;
      assert.equal(digest, createHash('sha256').update(zip).digest('base64'));
      assert.ok(grownBytes < BOUND_BYTES, `it took ${(grownBytes / MEBIBYTE).toFixed(1)} MiB`);
    });
  }
});
