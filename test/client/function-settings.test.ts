import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readSettings, type FunctionSettings } from '../../src/client/function-settings.ts';

const directory = mkdtempSync(join(tmpdir(), 'snapfaas-test-'));
after(() => rmSync(directory, { recursive: true }));

function read(yaml: string): FunctionSettings {
  writeFileSync(join(directory, 'function.yaml'), `${yaml}\n`);
  return readSettings(directory);
}

const cors = '{allow_origins: ["https://*.example"], allow_methods: [GET, "*"], max_age: 5}';

test('function.yaml: `url` and `events` are as in the YAML files of a controller', () => {
  assert.deepEqual(read(`url: {auth: aws_iam, invoke_mode: response_stream, cors: ${cors}}`).url, {
    auth: 'aws_iam',
    invoke_mode: 'response_stream',
    cors: { allow_origins: ['https://*.example'], allow_methods: ['GET', '*'], max_age: 5 },
  });
  assert.deepEqual(read('events: {}').events, {});
  for (const place of ['other', 'file:failed.jsonl', 'https://example.com/hook']) {
    assert.deepEqual(read(`events: {retries: 0, on_failure: "${place}"}`).events, { retries: 0, on_failure: place });
  }
});

const REFUSED: readonly (readonly [yaml: string, message: RegExp])[] = [
  ['url:', /function\.yaml:1:\d+: `url` must be a map with `auth`, not empty/],
  ['url: true', /:1:6: `url` must be a map with `auth`, not the boolean true/],
  ['url: {}', /:1:6: `url\.auth` is missing; it must be `none` or `aws_iam`/],
  ['url: {auth: NONE}', /:1:13: `url\.auth` must be `none` or `aws_iam`, not "NONE"/],
  ['url: {auht: none}', /:1:7: unknown key `auht`; did you mean `auth`/],
  [
    'url: {auth: none, cors: {allow_origins: ["https://a.example/x"]}}',
    /:1:41: `url\.cors\.allow_origins` has "https:\/\/a\.example\/x", which is not valid: an allowed origin is/,
  ],
  ['url: {auth: none, cors: {expose_headers: ["a b"]}}', /`url\.cors\.expose_headers` has "a b", which is not valid/],
  ['url: {auth: none, cors: {max_age: -1}}', /:1:35: `url\.cors\.max_age` must be a whole number of seconds/],
  ['events: 3', /:1:9: `events` must be a map with `retries`/],
  ['events: {retries: 3}', /:1:19: `events\.retries` must be a whole number of further tries from 0 to 2/],
  ['events: {max_age: 59}', /:1:19: `events\.max_age` must be a whole number of seconds from 60/],
  ['events: {on_failure: "file:../x"}', /:1:22: `events\.on_failure` must be a function by its name, a file as in/],
];

test('function.yaml: an application on a port is told by variables, as over the API', () => {
  assert.deepEqual(read('web: {port: 3000}').environment, { AWS_LWA_PORT: '3000' });
  assert.deepEqual(read('web: {port: 3000, max_concurrency: 8}\nenvironment: {A: b}').environment, {
    ...{ A: 'b', AWS_LWA_PORT: '3000', AWS_LWA_MAX_CONCURRENCY: '8' },
  });
  for (const count of ['0', '101', '1.5', 'x']) {
    const message = /:1:36: `web\.max_concurrency` must be a number of requests from 1 to 100, not/;
    assert.throws(() => read(`web: {port: 3000, max_concurrency: ${count}}`), message, count);
  }
});

test('function.yaml: layers are ARNs of versions, five at most', () => {
  const arn = 'arn:aws:lambda:us-east-1:000000000000:layer:tools:3';
  assert.deepEqual(read(`layers: [${arn}]\n`).layers, [arn]);
  for (const [layers, message] of [
    ['[a]', /:1:10: `layers\.0` must be the ARN of a layer version, such as arn:aws:.*, not "a"/],
    ['[12]', /`layers\.0` must be the ARN of a layer version/],
    [`[${Array(6).fill(arn).join(', ')}]`, /`layers` must be a list of at most 5 layers/],
  ] as const) {
    assert.throws(() => read(`layers: ${layers}\n`), message, layers);
  }
});

test('function.yaml: what `url` and `events` cannot be is told once, at its place', () => {
  for (const [yaml, message] of REFUSED) {
    assert.throws(
      () => read(yaml),
      (error: Error) => message.test(error.message) && !error.message.includes('\n'),
      yaml,
    );
  }
});
