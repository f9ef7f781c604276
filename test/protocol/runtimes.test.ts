import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { RUNTIME_IMAGES } from '../../src/images/runtimes.ts';
import {
  isMadeWhenWanted,
  OWN_IMAGE_NAMES,
  RUNTIME_NAMES,
  runtimefsAt,
  runtimefsOfAwsName,
  runtimeOfAwsName,
  runtimeOfRuntimefs,
  RUNTIMES,
  UNKNOWN_RUNTIME,
} from '../../src/protocol/runtimes.ts';
import { PROJECT_ROOT } from '../support/snapctr.ts';

test('runtimes: a handler is split as the language does it', () => {
  const cases = {
    python3: { 'workload.handle': 'workload', 'pkg.sub.run': 'pkg/sub', nothing: '' },
    nodejs: {
      'index.handler': 'index',
      'src/app.v2.run': 'src/app',
      '../a.b/index.run': '../a.b/index',
      nothing: 'nothing',
    },
    provided: { bootstrap: 'bootstrap', 'index.handler': 'bootstrap', nothing: 'bootstrap' },
  } as const;
  for (const name of RUNTIME_NAMES) {
    for (const [handler, module] of Object.entries(cases[name])) {
      assert.equal(RUNTIMES[name].moduleOf(handler), module, `${name}: ${handler}`);
    }
  }
});

test('runtimes: versions are named as AWS names them, and one that is not ours is a provided one', () => {
  assert.equal(RUNTIMES.python3.awsName('3.11.2-1+b1'), 'python3.11');
  assert.equal(RUNTIMES.nodejs.awsName('24.11.1'), 'nodejs24.x');
  assert.deepEqual(
    [RUNTIMES.python3, RUNTIMES.nodejs, RUNTIMES.provided, UNKNOWN_RUNTIME].map(({ awsName }) => awsName(null)),
    ['python3', 'nodejs', 'provided.al2023', 'provided'],
  );
});

test('runtimes: names of AWS lead to the root file system of that version, where it has one of its own', () => {
  const expected = {
    ...{ 'nodejs18.x': 'nodejs', 'nodejs20.x': 'nodejs20.x', 'nodejs22.x': 'nodejs22.x', 'nodejs24.x': 'nodejs' },
    ...{ 'python3.12': 'python3', 'provided.al2': 'provided', java21: null },
  };
  for (const [name, runtimefs] of Object.entries(expected)) assert.equal(runtimefsOfAwsName(name), runtimefs, name);
  for (const name of OWN_IMAGE_NAMES) {
    assert.equal(runtimeOfRuntimefs(name), runtimeOfAwsName(name));
    assert.equal(runtimefsAt(`/images/${name}.ext4`), name);
    assert.equal(isMadeWhenWanted(`/images/${name}.ext4`), true);
    assert.ok(RUNTIMES[runtimeOfRuntimefs(name)].imageName.test(`${name}.ext4`));
  }
  for (const name of RUNTIME_NAMES) assert.equal(isMadeWhenWanted(`/images/${name}.ext4`), false);
  assert.equal(runtimefsAt('/images/my-node.ext4'), null);
});

test('runtimes: a failure is told as the runtime of the language tells it', () => {
  const failure = { type: 'Oops', message: 'no', stack: ['at f'] };
  const texts = [RUNTIMES.python3, RUNTIMES.nodejs, UNKNOWN_RUNTIME].map(({ failurePayload }) => [
    JSON.stringify(failurePayload(failure, 'id')),
    JSON.stringify(failurePayload({ ...failure, raw: true }, 'id')),
  ]);
  const python = [
    '{"errorMessage":"no","errorType":"Oops","requestId":"id","stackTrace":["at f"]}',
    '{"errorMessage":"no","errorType":"Oops","requestId":"id"}',
  ];
  const node = [
    '{"errorType":"Oops","errorMessage":"no","trace":["at f"]}',
    '{"errorType":"Oops","errorMessage":"no"}',
  ];
  assert.deepEqual(texts, [python, node, python]);
});

test('runtimes: each has a program for the host and files for its image, and is told by the name of its image alone', async () => {
  for (const name of RUNTIME_NAMES) {
    assert.deepEqual(
      RUNTIME_NAMES.filter((other) => RUNTIMES[other].imageName.test(`${name}.ext4`)),
      [name],
    );
    const files = await RUNTIME_IMAGES[name].listFiles();
    // One that is compiled is compiled for the image anew.
    const { interpreter, program } = RUNTIMES[name].host;
    if (interpreter !== null) assert.ok(files.includes(program), files.join());
    for (const file of files) assert.ok(existsSync(join(PROJECT_ROOT, file)), file);
  }
});
