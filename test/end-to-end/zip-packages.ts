/** Functions as zip archives, from the list of functions to their answers; each driver has a file of two lines. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
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
    name: 'app/main.py',
    data: 'import helper, os\ndef handle(event):\n    return [event, helper.WORD, os.access("run.sh", os.X_OK)]\n',
  },
  { name: 'helper.py', data: 'WORD = "helped"\n' },
  { name: 'run.sh', data: '#!/bin/sh\n', mode: 0o100755 },
  { name: 'requirements.txt', data: 'left-out\n' },
];
const NODE: readonly ZipEntry[] = [
  { name: 'index.js', data: 'exports.handler = async (event) => [event, require("dep")];\n' },
  { name: 'package.json', data: '{"dependencies": {"dep": "1", "absent": "1"}}' },
  { name: 'node_modules/dep/index.js', data: 'module.exports = "brought";\n' },
];

const PACKAGES: Readonly<Record<string, readonly [keys: string, zip: Buffer]>> = {
  python: ['runtime: python3, handler: app.main.handle', makeZip(PYTHON)],
  node: ['runtime: nodejs, handler: index.handler', makeZip(NODE)],
  'no-handler': ['runtime: nodejs, handler: other.handler', makeZip(NODE)],
  nested: ['runtime: python3', makeZip([{ name: 'function/workload.py', data: '' }])],
  'leads-out': ['runtime: python3', makeZip([{ name: '../workload.py', data: '' }])],
  'no-zip': ['runtime: python3', Buffer.from('PK')],
};

export function describeZipPackages(vmm: TestVmm): void {
  describe(`function packages with ${vmm}`, { timeout: 300_000 }, () => {
    let workspace: Workspace;
    let controller: RunningController;

    before(async () => {
      workspace = createWorkspace([]);
      const entries = Object.entries(PACKAGES).map(([name, [keys, zip]]) => {
        writeFileSync(join(workspace.directory, 'apps', `${name}.zip`), zip);
        return `- {name: ${name}, appfs: ${name}.zip, memory: 128, ${keys}}\n`;
      });
      writeFileSync(join(workspace.directory, 'functions.yaml'), entries.join(''));
      controller = await startController(workspace, { vmm });
    });

    after(async () => {
      await controller.stop();
      await assertNothingLeft(workspace);
      workspace.remove();
    });

    test('they run with what they bring', async () => {
      const python = await controller.invoke('python', { n: 1 });
      assert.deepEqual([python.status, python.body], [200, [{ n: 1 }, 'helped', true]]);
      const node = await controller.invoke('node', 2);
      assert.deepEqual([node.status, node.body], [200, [2, 'brought']]);
    });

    test('what they name and do not bring is told', () => {
      const log = controller.log.join('\n');
      assert.match(log, /node\.zip: package\.json names what is not in the package: absent; nothing is installed/);
      assert.match(
        log,
        /python\.zip: requirements\.txt names what is not in the package: left-out; nothing is installed/,
      );
    });

    for (const [name, words] of [
      ['no-handler', /the handler "other\.handler" is not in the package, which has no other\.js/],
      [
        'nested',
        /the handler "workload\.handle" is not in the package, which has no workload\.py; .*the package's top/,
      ],
      ['leads-out', /leads out of the package by/],
      ['no-zip', /not a zip archive, or its end is missing/],
    ] as const) {
      test(`one that cannot be used breaks its function alone: ${name}`, async () => {
        assert.match(errorOf(await controller.invoke(name, 1))?.message ?? '', words);
      });
    }
  });
}
