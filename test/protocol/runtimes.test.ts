import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { RUNTIME_IMAGES } from '../../src/images/runtimes.ts';
import {
  isMadeOnDemand,
  ON_DEMAND_RUNTIMEFS,
  RUNTIMEFS_NAMES,
  STANDING_RUNTIMEFS,
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
    java: { 'example.Hello::handleRequest': null, 'example.Hello': null },
    provided: { bootstrap: 'bootstrap', 'index.handler': 'bootstrap', nothing: 'bootstrap' },
  } as const;
  for (const name of RUNTIME_NAMES) {
    for (const [handler, module] of Object.entries<string | null>(cases[name])) {
      assert.equal(RUNTIMES[name].moduleOf(handler), module, `${name}: ${handler}`);
    }
  }
});

test('runtimes: versions are named as AWS names them, and one that is not ours is a provided one', () => {
  assert.equal(RUNTIMES.python3.awsName('3.11.2-1+b1'), 'python3.11');
  assert.equal(RUNTIMES.nodejs.awsName('24.11.1'), 'nodejs24.x');
  assert.equal(RUNTIMES.java.awsName('17.0.21.1+2-1~deb12u1'), 'java17');
  assert.deepEqual(
    [RUNTIMES.python3, RUNTIMES.nodejs, RUNTIMES.provided, UNKNOWN_RUNTIME].map(({ awsName }) => awsName(null)),
    ['python3', 'nodejs', 'provided.al2023', 'provided'],
  );
});

test('runtimes: names of AWS lead to the root file system of that version, where it has one of its own', () => {
  const expected = {
    ...{ 'nodejs18.x': 'nodejs', 'nodejs20.x': 'nodejs20.x', 'nodejs22.x': 'nodejs22.x', 'nodejs24.x': 'nodejs' },
    ...{ 'python3.12': 'python3', 'provided.al2': 'provided', java17: 'java17', java11: null, java: null },
  };
  for (const [name, runtimefs] of Object.entries(expected)) assert.equal(runtimefsOfAwsName(name), runtimefs, name);
  for (const name of ON_DEMAND_RUNTIMEFS) {
    assert.equal(runtimeOfRuntimefs(name), runtimeOfAwsName(name));
    assert.equal(runtimefsAt(`/images/${name}.ext4`), name);
    assert.equal(isMadeOnDemand(`/images/${name}.ext4`), true);
    assert.ok(RUNTIMES[runtimeOfRuntimefs(name)].imageName.test(`${name}.ext4`));
  }
  for (const name of STANDING_RUNTIMEFS) assert.equal(isMadeOnDemand(`/images/${name}.ext4`), false);
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
  for (const name of RUNTIMEFS_NAMES) {
    const runtime = runtimeOfRuntimefs(name);
    assert.deepEqual(
      RUNTIME_NAMES.filter((other) => RUNTIMES[other].imageName.test(`${name}.ext4`)),
      [runtime],
    );
    const files = await RUNTIME_IMAGES[name].listFiles();
    const { host } = RUNTIMES[runtime];
    // One that is compiled is compiled for the image anew.
    if (host !== null && host.interpreter !== null) assert.ok(files.includes(host.program), files.join());
    for (const file of files) assert.ok(existsSync(join(PROJECT_ROOT, file)), file);
  }
});
