import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { measureTree, tightSize, type TreeSize } from '../../src/images/ext4.ts';
import { scratchMib } from '../../src/protocol/guest.ts';
import { noCompiler } from '../support/init-on-host.ts';
import {
  assertNothingLeft,
  createWorkspace,
  IMAGES,
  startController,
  type RunningController,
  type TestFunction,
  type Workspace,
} from '../support/snapctr.ts';
import { NODE, PYTHON, SCRIPTS, type Expectation } from './userland-table.ts';

const MEMORY_MIB = 128;
/** Seconds; hundreds of processes, or thousands of files, in one invocation under emulation. */
const TIMEOUT_S = 100;
/** Bytes of the images before they had a userland, and by how much that may have them grow; and what the AWS SDK beside it may take. */
const IMAGE_BOUNDS = {
  python3: { before: 63_963_136, growth: 60_000_000, sdk: 42_000_000 },
  nodejs: { before: 147_849_216, growth: 40_000_000, sdk: 30_000_000 },
} as const;

const FILES = { 'lib/libmine.so.1': 'found by its name alone' };

const PYTHON_SOURCE = `
import ast, ctypes.util, getpass, importlib, json, locale, mimetypes, os, platform, pty, pwd, socket, ssl, subprocess
import sys, time, zoneinfo

def tell(expression):
    try:
        return json.dumps(eval(expression))
    except BaseException as error:
        return repr(error)

def run(script):
    done = subprocess.run(script, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.removesuffix('\\n')

def handler(event, context):
    return {'scripts': [run(one) for one in event['scripts']], 'expressions': [tell(one) for one in event['expressions']]}
`;

const NODE_SOURCE = `
const fs = require('node:fs');
const { spawnSync } = require('node:child_process');

async function tell(expression) {
  try {
    return JSON.stringify(await eval(expression));
  } catch (error) {
    return String(error);
  }
}

function run(script) {
  const { stdout, stderr } = spawnSync('/bin/sh', ['-c', script]);
  return (String(stdout) + String(stderr)).replace(/\\n$/, '');
}

exports.handler = async (event) => {
  const expressions = [];
  for (const one of event.expressions) expressions.push(await tell(one));
  return { scripts: event.scripts.map(run), expressions };
};
`;

/** In VMs of their own: what the above has loaded would be missing here. */
const PYTHON_FILLER = `
import os

def fill(path):
    written = 0
    with open(path, 'wb', buffering=0) as file:
        while True:
            try:
                written += file.write(b'x' * 65536)
            except OSError as error:
                return [written >> 20, error.strerror]

def fill_with_files(directory):
    count = 0
    try:
        while True:
            with open(f'{directory}/{"n" * 230}{count}', 'wb', buffering=0) as file:
                file.write(b'x' * 8192)
            count += 1
    except OSError as error:
        return [count, error.strerror]

def handler(event, context):
    for path in event.get('removed', []):
        os.remove(path)
    if 'files' in event:
        return fill_with_files(event['files'])
    if 'size' in event:
        status = os.statvfs(event['size'])
        return status.f_blocks * status.f_frsize >> 20
    return [fill(path) for path in event['fill']]
`;

const NODE_FILLER = `
const fs = require('node:fs');

function fill(path) {
  const file = fs.openSync(path, 'w');
  const block = Buffer.alloc(65536, 120);
  for (let written = 0; ; ) {
    try {
      written += fs.writeSync(file, block);
    } catch (error) {
      fs.closeSync(file);
      return [written >> 20, reason(error)];
    }
  }
}

function fillWithFiles(directory) {
  const block = Buffer.alloc(8192, 120);
  for (let count = 0; ; count += 1) {
    try {
      fs.writeFileSync(directory + '/' + 'n'.repeat(230) + count, block);
    } catch (error) {
      return [count, reason(error)];
    }
  }
}

const reason = (error) => (error.code === 'ENOSPC' ? 'No space left on device' : error.message);

exports.handler = async (event) => {
  for (const path of event.removed ?? []) fs.unlinkSync(path);
  if (event.files) return fillWithFiles(event.files);
  if (event.size) {
    const { blocks, bsize } = fs.statfsSync(event.size);
    return (blocks * bsize) / (1 << 20);
  }
  return event.fill.map(fill);
};
`;

const keys = { handler: 'app.handler', memory: MEMORY_MIB, timeout: TIMEOUT_S };
const FUNCTIONS: readonly (TestFunction & { readonly table: readonly Expectation[] })[] = [
  { name: 'python', runtime: 'python3', files: { ...FILES, 'app.py': PYTHON_SOURCE }, keys, table: PYTHON },
  { name: 'node', runtime: 'nodejs', files: { ...FILES, 'app.js': NODE_SOURCE }, keys, table: NODE },
];

const FILLERS: readonly TestFunction[] = [
  { name: 'python-filler', runtime: 'python3', files: { 'app.py': PYTHON_FILLER }, keys },
  { name: 'node-filler', runtime: 'nodejs', files: { 'app.js': NODE_FILLER }, keys },
];

interface Told {
  readonly scripts: readonly string[];
  readonly expressions: readonly string[];
}

describe('userland, in virtual machines', { timeout: 900_000 }, () => {
  let workspace: Workspace;
  let controller: RunningController;

  before(async () => {
    workspace = createWorkspace([...FUNCTIONS, ...FILLERS]);
    if (noCompiler === false) {
      for (const { name } of FUNCTIONS) compileProbe(join(workspace.directory, 'apps', name, 'namespaces'));
    }
    controller = await startController(workspace, { vmm: 'qemu' });
  });

  after(async () => {
    await controller.stop();
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  const invoke = async <T>(name: string, event: unknown): Promise<T> => {
    const { status, text, body } = await controller.invoke(name, event);
    assert.equal(status, 200, text);
    return body as T;
  };
  const runScript = async (name: string, script: string): Promise<string> => {
    const told = await invoke<Told>(name, { scripts: [script], expressions: [] });
    return told.scripts[0] ?? '';
  };

  for (const { name, runtime, table } of FUNCTIONS) {
    test(`${runtime}: has what programs expect`, async () => {
      const differences: string[] = [];
      for (const row of SCRIPTS) differences.push(...compare(row, await runScript(name, row.program)));
      for (const row of table) {
        const told = await invoke<Told>(name, { scripts: [], expressions: [row.program] });
        differences.push(...compare(row, told.expressions[0] ?? ''));
      }
      assert.deepEqual(differences, []);
    });

    test(`${runtime}: no way leads to a namespace, a mount or a capability`, { skip: noCompiler }, async () => {
      const said = await runScript(name, '/srv/namespaces');
      assert.equal(said, 'capabilities CapInh 0 CapPrm 0 CapEff 0 CapBnd 0 CapAmb 0');
    });

    test(`${runtime}: the image has not grown by more than was agreed`, async () => {
      const { before, growth, sdk: sdkBound } = IMAGE_BOUNDS[runtime];
      const image = join(IMAGES, 'runtimefs', `${runtime}.ext4`);
      const { whole, sdk } = await sizesIn(image);
      const without = { bytes: whole.bytes - sdk.bytes, entries: whole.entries - sdk.entries };
      const ofSdk = tightSize(whole).bytes - tightSize(without).bytes;
      const grown = statSync(image).size - ofSdk - before;
      assert.ok(grown <= growth, `${grown} bytes more than before, without the SDK`);
      assert.ok(sdk.bytes > 1_000_000 && sdk.bytes <= sdkBound, `${sdk.bytes} bytes for the SDK`);
    });
  }
  for (const { name, runtime } of FILLERS) {
    test(`${runtime}: /tmp and /dev/shm have one limit, and the VM lives when both are full`, async () => {
      const limit = scratchMib(MEMORY_MIB);
      for (const size of ['/tmp', '/dev/shm']) assert.equal(await invoke(name, { size }), limit);
      const full = 'No space left on device';
      const both = [
        [limit, full],
        [0, full],
      ];
      assert.deepEqual(await invoke(name, { fill: ['/tmp/a', '/dev/shm/a'] }), both);
      const removed = ['/tmp/a', '/dev/shm/a'];
      assert.deepEqual(await invoke(name, { removed, fill: ['/dev/shm/a', '/tmp/a'] }), both);
      const [count, reason] = await invoke<[number, string]>(name, { removed, files: '/tmp' });
      assert.equal(reason, full);
      assert.ok(count > 4000 && count < 128 * limit, `${count} files`);
      assert.equal(await invoke(name, { size: '/tmp' }), limit);
    });
  }
});

function compare({ name, expected }: Expectation, actual: string): readonly string[] {
  const holds = typeof expected === 'string' ? actual === expected : expected.test(actual);
  return holds ? [] : [`${name}: expected ${String(expected)}, not ${actual}`];
}

function compileProbe(file: string): void {
  const source = fileURLToPath(new URL('../guest/fixtures/namespaces.c', import.meta.url));
  const { status, stderr } = spawnSync('gcc', ['-static', '-O2', '-Wall', '-Wextra', '-Werror', '-o', file, source]);
  assert.equal(status, 0, String(stderr));
  chmodSync(file, 0o755);
}

/** What the files of an image take, and the AWS SDK's of them. */
async function sizesIn(image: string): Promise<{ readonly whole: TreeSize; readonly sdk: TreeSize }> {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-image-'));
  try {
    const { status, stderr } = spawnSync('debugfs', ['-R', `rdump / ${directory}`, image], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    rmSync(join(directory, 'lost+found'), { recursive: true, force: true });
    return { whole: await measureTree(directory), sdk: await measureTree(join(directory, 'var/runtime')) };
  } finally {
    rmSync(directory, { recursive: true });
  }
}
