import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { PROJECT_ROOT } from '../../src/images/project.ts';
import { NODE_SDK_PACKAGES } from '../../src/protocol/runtimes.ts';

test('aws sdk: the docs name each package that the image of Node has, and no other', () => {
  const docs = readFileSync(join(PROJECT_ROOT, 'docs', 'lambda.md'), 'utf8');
  const section = docs.slice(docs.indexOf('\n## The AWS SDK\n')).split('\n## ')[1] ?? '';
  const named = [...section.matchAll(/`((?:client|lib|util|s3)-[a-z0-9-]+)`/g)].map(
    ([, name = '']) => `@aws-sdk/${name}`,
  );
  assert.deepEqual(named.sort(), [...NODE_SDK_PACKAGES].sort());
});

test('aws sdk: images are built without where SNAPFAAS_AWS_SDK says none', () => {
  const code = `import('./src/images/aws-sdk.ts').then(async ({ NODE_SDK_RECIPE, PYTHON_SDK_RECIPE, placeNodeSdk }) =>
    console.log(JSON.stringify([NODE_SDK_RECIPE, PYTHON_SDK_RECIPE, await placeNodeSdk('/none', '/none', () => undefined)])))`;
  const environment = { ...process.env, SNAPFAAS_AWS_SDK: 'none' };
  const argv = ['--import', 'tsx', '--input-type=module', '--eval', code];
  const said = execFileSync(process.execPath, argv, { cwd: PROJECT_ROOT, env: environment, encoding: 'utf8' });
  assert.deepEqual(JSON.parse(said), [null, null, {}]);
});
