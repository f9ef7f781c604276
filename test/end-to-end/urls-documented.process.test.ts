/** The payload format 2.0 against the examples of AWS's documentation (`test/fixtures/aws-payload-2.0`): what functions are told and say. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  assertNothingLeft,
  createWorkspace,
  PROJECT_ROOT,
  startController,
  type RunningController,
  type TestFunction,
  type Workspace,
} from '../support/snapctr.ts';

interface Documented {
  readonly output: unknown;
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: string;
}

type Json = Readonly<Record<string, unknown>>;

const FIXTURES = join(PROJECT_ROOT, 'test', 'fixtures', 'aws-payload-2.0');
const readFixture = (name: string): unknown => JSON.parse(readFileSync(join(FIXTURES, name), 'utf8')) as unknown;
const REQUEST = readFixture('request.json') as Json;
const ANSWERS = readFixture('answers.json') as readonly Documented[];

/** Tells its event, or answers with the example whose number is asked for. */
const NODE = `
const answers = ${JSON.stringify(ANSWERS.map(({ output }) => output))};
exports.handler = async (event) => {
  const at = event.queryStringParameters?.answer;
  return at === undefined ? { statusCode: 200, body: JSON.stringify(event) } : answers[at];
};
`;
const PYTHON = `
import json
answers = json.loads(${JSON.stringify(JSON.stringify(ANSWERS.map(({ output }) => output)))})
def handler(event, context):
    at = event.get('queryStringParameters', {}).get('answer')
    return {'statusCode': 200, 'body': json.dumps(event)} if at is None else answers[int(at)]
`;
const keys = { handler: 'index.handler', url: '{auth: none}' } as const;
const FUNCTIONS: readonly TestFunction[] = [
  { name: 'open', runtime: 'nodejs', files: { 'index.js': NODE }, keys },
  { name: 'python', runtime: 'python3', files: { 'index.py': PYTHON }, keys },
  { name: 'signed', runtime: 'nodejs', files: { 'index.js': NODE }, keys: { ...keys, url: '{auth: aws_iam}' } },
];

/** The documentation says of these that they are null or left out: URLs do not use them. */
const UNUSED = ['pathParameters', 'stageVariables'];

function typeOf(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'list' : typeof value;
}

/** Each member with the path to it and the type of its value; what is in headers depends on the client. */
function shapeOf(value: unknown, path = ''): readonly string[] {
  const own = `${path}: ${typeOf(value)}`;
  if (typeOf(value) !== 'object' || path === '.headers') return [own];
  return [own, ...Object.entries(value as Json).flatMap(([name, one]) => shapeOf(one, `${path}.${name}`))].sort();
}

function without(value: Json, names: readonly string[]): Json {
  return Object.fromEntries(Object.entries(value).filter(([name]) => !names.includes(name)));
}

describe('the documented payload format 2.0', { timeout: 120_000 }, () => {
  let workspace: Workspace;
  let controller: RunningController;

  before(async () => {
    workspace = createWorkspace(FUNCTIONS);
    controller = await startController(workspace, { vmm: 'process' });
  });

  after(async () => {
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  async function ask(
    name: string,
    target: string,
    headers: Readonly<Record<string, string | string[]>> = {},
    body?: string,
  ) {
    const sent = request(`${controller.url}/url/${name}${target}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers,
    });
    const [answer] = (await once(sent.end(body), 'response')) as [IncomingMessage];
    let text = '';
    for await (const part of answer) text += String(part);
    return { status: answer.statusCode, headers: answer.headers, text };
  }

  /** The request that the documented event tells of. */
  async function eventOf(name: string, more: Readonly<Record<string, string>> = {}): Promise<Json> {
    const headers = {
      ...{ header1: 'value1', header2: ['value1', 'value2'], cookie: 'cookie1; cookie2', 'user-agent': 'agent' },
      ...{ 'content-type': 'text/plain', ...more },
    };
    const { status, text } = await ask(
      name,
      `/my/path?${String(REQUEST['rawQueryString'])}`,
      headers,
      String(REQUEST['body']),
    );
    assert.equal(status, 200, text);
    return JSON.parse(text) as Json;
  }

  test('a function behind a URL with AWS_IAM is told every documented member, of its type, and no other', async () => {
    const event = await eventOf('signed', { authorization: 'AWS4-HMAC-SHA256 any' });
    assert.deepEqual(shapeOf(event), shapeOf(without(REQUEST, UNUSED)));
  });

  for (const name of ['open', 'python']) {
    test(`a function behind a URL of anybody's is told the same but for who called: ${name}`, async () => {
      const event = await eventOf(name);
      const context = without(REQUEST['requestContext'] as Json, ['authentication', 'authorizer']);
      assert.deepEqual(shapeOf(event), shapeOf({ ...without(REQUEST, UNUSED), requestContext: context }));
      const values = ['requestContext', 'headers', ...UNUSED];
      assert.deepEqual(without(event, values), without(REQUEST, values));
      const { header1, header2 } = event['headers'] as Json;
      assert.deepEqual({ header1, header2 }, REQUEST['headers']);
      const { http, requestId, time, timeEpoch, domainName, apiId } = event['requestContext'] as Json;
      assert.deepEqual(without(http as Json, ['sourceIp']), without(context['http'] as Json, ['sourceIp']));
      assert.match(String(requestId), /^[0-9a-f-]{36}$/);
      assert.match(String(time), /^\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000$/);
      assert.ok(Math.abs(Number(timeEpoch) - Date.now()) < 60_000);
      assert.ok(String(domainName).startsWith(`${String(apiId)}.lambda-url.`));
    });

    for (const [at, { status, headers, body }] of ANSWERS.entries()) {
      test(`the documented answer ${at + 1} is seen as documented: ${name}`, async () => {
        const answer = await ask(name, `/?answer=${at}`);
        const seen = Object.fromEntries(Object.keys(headers).map((header) => [header, answer.headers[header]]));
        assert.deepEqual([answer.status, seen], [status, headers]);
        // A language puts space where it likes in JSON of its own making.
        const isOwn = at < 2;
        assert.deepEqual(isOwn ? JSON.parse(answer.text) : answer.text, isOwn ? JSON.parse(body) : body);
      });
    }
  }
});
