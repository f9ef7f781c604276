import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { assertNothingLeft, createWorkspace, PROJECT_ROOT, run, SNAPCTR, type Workspace } from '../support/snapctr.ts';

interface ResultLine {
  readonly index: number;
  readonly function: string;
  readonly status: string;
  readonly start: string;
  readonly response: Readonly<Record<string, unknown>>;
}

const REQUESTS = join(PROJECT_ROOT, 'resources/example_requests.json');
const PNG_SIGNATURE = '89504e470d0a1a0a';

describe('examples, in virtual machines, from the request file', { timeout: 240_000 }, () => {
  let workspace: Workspace;
  let results: readonly ResultLine[];

  before(async () => {
    workspace = createWorkspace([]);
    const args = [
      '--config',
      'resources/controller.yaml',
      '--mem',
      // Room for each of them, and for as many as are launched ahead: then none is evicted.
      '2048',
      '--vmm',
      'qemu',
      '--requests_file',
      REQUESTS,
    ];
    const finished = await run(SNAPCTR, args, { workspace });
    assert.equal(finished.status, 0, finished.stderr);
    const lines = finished.stdout.trimEnd().split('\n');
    results = lines.map((line) => JSON.parse(line) as ResultLine).sort((a, b) => a.index - b.index);
  });

  after(async () => {
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  const responses = (name: string): Readonly<Record<string, unknown>>[] =>
    results.filter((result) => result.function === name).map((result) => result.response);

  test('every request of the file is answered, in order of its index, each exactly once', () => {
    const requests = readFileSync(REQUESTS, 'utf8').trimEnd().split('\n').length;
    assert.deepEqual(
      results.map(({ index }) => index),
      Array.from({ length: requests }, (_, index) => index),
    );
    assert.ok(results.every(({ status }) => status === 'ok'));
  });

  test('the first request of each function finds no VM that has served, later ones do', () => {
    for (const name of new Set(results.map((result) => result.function))) {
      const starts = results.filter((result) => result.function === name).map(({ start }) => start);
      assert.notEqual(starts[0], 'warm', name);
      assert.ok(starts.length === 1 || starts.includes('warm'), name);
    }
  });

  test('hello greets in both languages', () => {
    assert.deepEqual(responses('hello-python')[0], { greeting: 'Hello, Ada!' });
    assert.deepEqual(responses('hello-node')[0], { greeting: 'Hello, Grace!' });
  });

  test('thumbnail turns a JPEG into a PNG of the width asked for', () => {
    const [thumbnail] = responses('thumbnail');
    const png = Buffer.from(String(thumbnail?.['image']), 'base64');
    assert.equal(png.subarray(0, 8).toString('hex'), PNG_SIGNATURE);
    // Width and height stand first in the IHDR chunk.
    assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20)], [thumbnail?.['width'], thumbnail?.['height']]);
  });

  test('markdown renders HTML by its npm dependency', () => {
    assert.match(String(responses('markdown')[0]?.['html']), /<h1>SnapFaaS<\/h1>[\s\S]*<strong>own<\/strong>/);
  });

  test('slug uses its package of PyPI', () => {
    assert.deepEqual(responses('slug'), [{ slug: 'creme-brulee-a-la-carte' }, { slug: 'how-low-can-you-go' }]);
  });

  test('wordcount counts the words of its text and of a given one', () => {
    const counts = responses('wordcount');
    assert.match(JSON.stringify(counts[0]), /"the"/);
    assert.match(JSON.stringify(counts.at(-1)), /"dog"/);
  });
});
