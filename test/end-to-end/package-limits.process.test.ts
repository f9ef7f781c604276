/** Packages at the limits of what may be unpacked, and just over them, as the API gets them. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeZip, type ZipEntry } from '../packages/zip.ts';
import {
  assertNothingLeft,
  createWorkspace,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';

const FUNCTIONS = '/2015-03-31/functions';
const MEBIBYTE = 1024 * 1024;
const PATIENCE_MS = 300_000;
const MOST_ENTRIES = 131_072;
const settings = { Role: 'arn:aws:iam::000000000000:role/any', Runtime: 'python3.11', Handler: 'main.handle' };
const code = (word: string): ZipEntry => ({ name: 'main.py', data: `def handle(e, c):\n    return "${word}"\n` });
const zeros = Buffer.alloc(50 * MEBIBYTE);
/** With the code beside them: 250 MB, and some bytes. */
const large = Array.from({ length: 5 }, (_, i): ZipEntry => ({ name: `zeros-${i}`, data: zeros }));
const empty = (count: number): readonly ZipEntry[] =>
  Array.from({ length: count }, (_, i) => ({ name: `${i >> 10}/${i}`, method: 0 }));

type Members = Readonly<Record<string, unknown>>;

describe('packages at their limits, over the API', { timeout: 900_000 }, () => {
  let workspace: Workspace;
  let snapctr: RunningController;

  before(async () => {
    workspace = createWorkspace([]);
    snapctr = await startController(workspace, { vmm: 'process' });
    const made = await send('POST', '', { FunctionName: 'made', ...settings, Code: { ZipFile: base64('served') } });
    assert.deepEqual([made['State'], made['StateReason']], ['Active', undefined], snapctr.log.join('\n'));
  });
  after(async () => {
    await snapctr.stop();
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  const base64 = (word: string, entries: readonly ZipEntry[] = []): string =>
    makeZip([code(word), ...entries]).toString('base64');
  const get = async (name: string): Promise<Members> =>
    (await (await fetch(`${snapctr.url}${FUNCTIONS}/${name}/configuration`)).json()) as Members;

  const post = (method: string, path: string, members: Members): Promise<Response> =>
    fetch(`${snapctr.url}${FUNCTIONS}${path}`, { method, body: JSON.stringify(members) });

  /** Sends it, and waits until it was deployed or has failed. */
  async function send(method: string, path: string, members: Members): Promise<Members> {
    const answer = await post(method, path, members);
    const text = await answer.text();
    assert.ok(answer.ok, text);
    const { FunctionName } = JSON.parse(text) as { readonly FunctionName: string };
    for (const deadline = performance.now() + PATIENCE_MS; ; await sleep(100)) {
      const now = await get(FunctionName);
      if (now['State'] !== 'Pending' && now['LastUpdateStatus'] !== 'InProgress') return now;
      assert.ok(performance.now() < deadline, snapctr.log.join('\n'));
    }
  }

  test('over 250 MB unpacked, in 25,005 entries: refused with the reason, and the version before goes on', async () => {
    const before = await get('made');
    // Fewer entries are counted while the request is still there.
    const ZipFile = base64('too much', [...large, ...empty(25_000)]);
    const reason = /is larger than 250 MB unpacked; leave files out/;
    const after = await send('PUT', '/made/code', { ZipFile });
    assert.deepEqual([after['State'], after['LastUpdateStatus']], ['Active', 'Failed']);
    assert.match(String(after['LastUpdateStatusReason']), reason);
    assert.equal((await snapctr.invoke('made', {})).body, 'served');

    const failed = await send('POST', '', { FunctionName: 'never', ...settings, Code: { ZipFile } });
    assert.equal(failed['State'], 'Failed');
    assert.match(String(failed['StateReason']), reason);
    assert.equal((await fetch(`${snapctr.url}${FUNCTIONS}/never`, { method: 'DELETE' })).status, 204);

    // Mended, it is as if nothing had been.
    const mended = await send('PUT', '/made/code', { ZipFile: base64('served') });
    assert.deepEqual(
      [mended['LastUpdateStatus'], mended['LastUpdateStatusReason'], mended['CodeSha256']],
      ['Successful', undefined, before['CodeSha256']],
    );
  });

  test('131,073 entries: refused at once, and nothing is changed', async () => {
    const before = await get('made');
    const ZipFile = base64('too much', empty(MOST_ENTRIES));
    for (const [method, path, members] of [
      ['PUT', '/made/code', { ZipFile }],
      ['POST', '', { FunctionName: 'never', ...settings, Code: { ZipFile } }],
    ] as const) {
      const answer = await post(method, path, members);
      assert.equal(answer.status, 400);
      assert.equal(answer.headers.get('x-amzn-errortype'), 'InvalidParameterValueException');
      const { message } = (await answer.json()) as { readonly message: string };
      assert.equal(message, 'Uploaded file must have at most 131072 entries: leave some out.');
    }
    assert.deepEqual(await get('made'), before);
    assert.equal((await fetch(`${snapctr.url}${FUNCTIONS}/never`)).status, 404);
  });

  test('131,072 entries: taken, and called off', async () => {
    // To unpack so many takes minutes: that they may be so many is shown by the tests of `src/packages`.
    const ZipFile = base64('all of them', empty(MOST_ENTRIES - 1));
    const answer = await post('POST', '', { FunctionName: 'most', ...settings, Code: { ZipFile } });
    assert.equal(answer.status, 201, await answer.text());
    assert.equal((await fetch(`${snapctr.url}${FUNCTIONS}/most`, { method: 'DELETE' })).status, 204);
  });
});
