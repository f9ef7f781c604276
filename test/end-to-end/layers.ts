/** Functions with layers, from the list of functions to their answers; each driver has a file of two lines. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { makeZip, type ZipEntry } from '../packages/zip.ts';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  startController,
  type RunningController,
  type TestVmm,
  type Workspace,
} from '../support/snapctr.ts';

const PYTHON: readonly ZipEntry[] = [
  {
    name: 'main.py',
    data: `import ctypes, subprocess
import first, both, versioned, other
def handler(event, context):
    tool = subprocess.run(['layer-tool'], capture_output=True, text=True).stdout
    return [first.WORD, both.WORD, versioned.WORD, other.WORD, tool, ctypes.CDLL('liblayer.so').answer()]
`,
  },
  { name: 'other.py', data: 'WORD = "the function\'s own"\n' },
];
const NODE: readonly ZipEntry[] = [
  {
    name: 'required.js',
    data: `const words = ['first', 'both', 'versioned/sub.js', 'other', '@scope/dep'].map((name) => require(name));
exports.handler = async () => [...words, String(require('child_process').execFileSync('layer-tool'))];
`,
  },
  {
    name: 'imported.mjs',
    data: `import first from 'first';
import both from 'both';
import versioned from 'versioned/sub.js';
import other from 'other';
import scoped from '@scope/dep';
const missing = await import('missing').catch((error) => error.code);
export const handler = async () => [first, both, versioned, other, scoped, missing];
`,
  },
  { name: 'node_modules/other/index.js', data: 'module.exports = "the function\'s own";\n' },
];
const module = (path: string, word: string): ZipEntry => ({
  name: path,
  data: `module.exports = ${JSON.stringify(word)};\n`,
});
const FIRST: readonly ZipEntry[] = [
  { name: 'python/first.py', data: 'WORD = "first"\n' },
  { name: 'python/both.py', data: 'WORD = "hidden by the second"\n' },
  { name: 'python/other.py', data: 'WORD = "hidden by the function"\n' },
  // Of no interpreter that there is: searched, for there is none for this one.
  { name: 'python/lib/python3.99/site-packages/versioned.py', data: 'WORD = "versioned"\n' },
  module('nodejs/node_modules/first/index.js', 'first'),
  module('nodejs/node_modules/both/index.js', 'hidden by the second'),
  module('nodejs/node_modules/other/index.js', 'hidden by the function'),
  module('nodejs/node_modules/versioned/sub.js', 'hidden by that of the version'),
  module('nodejs/node_modules/@scope/dep/index.js', 'scoped'),
  module('nodejs/node99/node_modules/versioned/sub.js', 'versioned'),
  { name: 'bin/layer-tool', data: '#!/bin/sh\nprintf hidden\n', mode: 0o100755 },
  { name: 'extensions/agent', data: '#!/bin/sh\n', mode: 0o100755 },
];
const WORDS = ['first', 'both', 'versioned', "the function's own", 'scoped'];
const SECOND: readonly (readonly [path: string, data: string, mode?: number])[] = [
  ['python/both.py', 'WORD = "both"\n'],
  ['nodejs/node_modules/both/index.js', 'module.exports = "both";\n'],
  ['bin/layer-tool', '#!/bin/sh\nprintf tool\n', 0o755],
];
/** Answers with what it finds of the layers, in the original's style. */
const ORIGINAL = {
  python3: [['workload.py', 'import both\ndef handle(request):\n    return both.WORD\n']],
  nodejs: [['workload.js', 'exports.handle = async () => require("both");\n']],
} as const;

function write(directory: string, files: readonly (readonly [string, string, number?])[]): void {
  for (const [path, data, mode] of files) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), data, { mode: mode ?? 0o644 });
  }
}

function compileLibrary(directory: string): Buffer {
  const place = join(directory, 'liblayer.so');
  const source = 'int answer(void) { return 42; }\n';
  execFileSync('cc', ['-shared', '-fPIC', '-nostdlib', '-x', 'c', '-o', place, '-'], { input: source });
  return readFileSync(place);
}

export function describeLayers(vmm: TestVmm): void {
  describe(`layers with ${vmm}`, { timeout: 300_000 }, () => {
    let workspace: Workspace;
    let controller: RunningController;

    before(async () => {
      workspace = createWorkspace([]);
      const apps = join(workspace.directory, 'apps');
      const first = [...FIRST, { name: 'lib/liblayer.so', data: compileLibrary(workspace.directory), mode: 0o100755 }];
      writeFileSync(join(apps, 'first.zip'), makeZip(first));
      write(join(apps, 'second'), SECOND);
      writeFileSync(join(apps, 'bad.zip'), makeZip([{ name: '../x', data: '' }]));
      writeFileSync(join(apps, 'python.zip'), makeZip(PYTHON));
      writeFileSync(join(apps, 'node.zip'), makeZip(NODE));
      write(join(apps, 'original-python3'), ORIGINAL.python3);
      write(join(apps, 'original-nodejs'), ORIGINAL.nodejs);
      const layers = 'layers: [first.zip, second]';
      const functions = [
        `{name: python, runtime: python3, appfs: python.zip, handler: main.handler, ${layers}}`,
        `{name: required, runtime: nodejs, appfs: node.zip, handler: required.handler, ${layers}}`,
        `{name: imported, runtime: nodejs, appfs: node.zip, handler: imported.handler, ${layers}}`,
        `{name: original-python3, runtime: python3, appfs: original-python3, ${layers}}`,
        `{name: original-nodejs, runtime: nodejs, appfs: original-nodejs, ${layers}}`,
        '{name: bad, runtime: python3, appfs: original-python3, layers: [second, bad.zip]}',
        '{name: alone, runtime: python3, appfs: python.zip, handler: main.handler}',
      ];
      writeFileSync(join(workspace.directory, 'functions.yaml'), functions.map((one) => `- ${one}\n`).join(''));
      controller = await startController(workspace, { vmm });
    });

    after(async () => {
      await controller.stop();
      await assertNothingLeft(workspace);
      workspace.remove();
    });

    test('modules, programs and libraries of layers are found, the last layer first and after the function itself', async () => {
      const python = await controller.invoke('python', {});
      assert.deepEqual(
        [python.status, python.body],
        [200, ['first', 'both', 'versioned', "the function's own", 'tool', 42]],
      );
      const node = await controller.invoke('required', {});
      assert.deepEqual([node.status, node.body], [200, [...WORDS, 'tool']]);
    });

    const skip =
      vmm === 'process' &&
      !('registerHooks' in nodeModule) &&
      `Node ${process.versions.node} lets nobody say what import finds`;
    test('import finds modules of layers as require does', { skip }, async () => {
      const { status, body } = await controller.invoke('imported', {});
      assert.deepEqual([status, body], [200, [...WORDS, 'ERR_MODULE_NOT_FOUND']]);
    });

    test('functions of the original style find them as well', async () => {
      for (const name of ['original-python3', 'original-nodejs']) {
        const { status, body } = await controller.invoke(name, {});
        assert.deepEqual([name, status, body], [name, 200, 'both']);
      }
    });

    test('a layer that cannot be used breaks its function alone, and a function without layers sees none', async () => {
      assert.match(
        errorOf(await controller.invoke('bad', 1))?.message ?? '',
        /layer 2 \(bad\.zip\): the name "\.\.\/x" leads out of the package/,
      );
      assert.match(errorOf(await controller.invoke('alone', 1))?.message ?? '', /No module named 'first'/);
    });

    test('what of a layer is not used is told', () => {
      assert.match(controller.log.join('\n'), /extensions\/agent.* is not started/);
    });
  });
}
