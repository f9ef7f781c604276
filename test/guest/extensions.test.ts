/** Extensions of AWS Lambda beside a bootstrap, under sanitizers: what they are told, and what becomes of those that fail. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Frame } from '../../src/protocol/frame.ts';
import { FrameType } from '../../src/protocol/guest.ts';
import { compiledBootstrap, noCompiler } from '../support/bootstrap.ts';
import { failureOf, GuestProcess, runningGuests } from '../support/guest-process.ts';
import { SanitizedRuntimeApi } from '../support/sanitized-runtime-api.ts';

const DEADLINE_MS = Date.now() + 3_600_000;
const PLACE = '.snapfaas/root/opt/extensions';

/** With `ask(method, path, headers, body)`, and `register`. */
const CLIENT = `#!${process.execPath}
const http = require('node:http');
const path = require('node:path');
const api = 'http://' + process.env.AWS_LAMBDA_RUNTIME_API + '/';
const ask = (method, place, headers = {}, body) => new Promise((resolve, reject) => {
  const request = http.request(api + place, { method, headers }, (answer) => {
    let text = '';
    answer.on('data', (part) => (text += part)).on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, text }));
  });
  request.on('error', reject).end(body);
});
let id;
const mine = () => ({ 'Lambda-Extension-Identifier': id ?? 'none' });
const register = async (events, name = path.basename(__filename)) => {
  const answer = await ask('POST', '2020-01-01/extension/register', { 'Lambda-Extension-Name': name }, JSON.stringify({ events }));
  id = answer.headers['lambda-extension-identifier'] ?? id;
  return answer;
};
const next = () => ask('GET', '2020-01-01/extension/event/next', mine());
const say = (...words) => process.stdout.write(words.join(' ') + '\\n');
`;
const EXTENSION = `${CLIENT}
(async () => {
  say('before', (await next()).status);
  say('wrong', (await register(['INVOKE'], 'other')).status);
  const { status, text } = await register(['INVOKE', 'SHUTDOWN']);
  say('registered', status, text);
  say('again', (await register(['INVOKE'])).status);
  const body = { schemaVersion: '2022-12-13', types: ['platform'], destination: { protocol: 'HTTP', URI: 'http://sandbox:1' } };
  for (const place of ['2022-07-01/telemetry', '2020-08-15/logs']) {
    const answer = await ask('PUT', place, mine(), JSON.stringify(body));
    say('subscribed', answer.status, answer.text);
  }
  say('bad', (await ask('PUT', '2022-07-01/telemetry', mine(), '{}')).status);
  say('unknown', (await ask('PUT', '2022-07-01/telemetry', {}, JSON.stringify(body))).status);
  for (;;) {
    const event = await next();
    say('event', event.text);
    if (JSON.parse(event.text).eventType === 'SHUTDOWN') process.exit(0);
  }
})();
`;

const BAD: Readonly<Record<string, string>> = {
  dies: `${CLIENT} process.exit(5);`,
  'says so': `${CLIENT} register([]).then(() =>
    ask('POST', '2020-01-01/extension/init/error', { ...mine(), 'Lambda-Extension-Function-Error-Type': 'Extension.NoLicence' }, '{}'));
    setInterval(() => undefined, 1000);`,
};

describe('extensions of the Runtime API', { skip: noCompiler }, () => {
  let api: SanitizedRuntimeApi;

  before(() => {
    api = new SanitizedRuntimeApi();
  });

  after(() => {
    assert.equal(runningGuests(), 0);
    api.remove();
  });

  const start = (extension: string): Promise<GuestProcess> =>
    api.start({
      bootstrap: compiledBootstrap(),
      [`${PLACE}/agent`]: extension,
    });
  const load = (guest: GuestProcess): Promise<Frame> => guest.load({ handler: 'bootstrap', style: 'lambda' });

  test('are started first, hear of each invocation, and of the end', async () => {
    const guest = await start(EXTENSION);
    assert.equal((await load(guest)).type, FrameType.loaded);
    const lines = (await guest.printedBy(0)).stdout
      .trim()
      .split('\n')
      .filter((line) => !line.startsWith('started'));
    assert.deepEqual(lines, [
      'before 403',
      'wrong 403',
      'registered 200 {"functionName":"under-test","functionVersion":"$LATEST","handler":"bootstrap"}',
      'again 403',
      'subscribed 200 "OK"',
      'subscribed 200 "OK"',
      'bad 400',
      'unknown 403',
    ]);
    for (const n of [1, 2]) {
      const answer = await guest.invoke(JSON.stringify({ do: 'echo', n }), {
        id: `id-${n}`,
        deadline_ms: DEADLINE_MS,
        trace: 'Root=1',
      });
      assert.equal(answer.payload.toString(), `{"do":"echo","n":${n}}`);
    }
    await guest.invoke('{"do":"count"}');
    const { stdout } = await guest.printedBy(2);
    assert.deepEqual(JSON.parse(/event (.*)/.exec(stdout)?.[1] ?? ''), {
      eventType: 'INVOKE',
      deadlineMs: DEADLINE_MS,
      requestId: 'id-2',
      invokedFunctionArn: 'arn:aws:lambda:us-east-1:000000000000:function:under-test',
      tracing: { type: 'X-Amzn-Trace-Id', value: 'Root=1' },
    });
    guest.send('{"do":"exit"}');
    await assert.rejects(guest.nextFunctionFrame());
    assert.equal((await guest.remove()).status, 3);
  });

  test('one that ends, or tells of an error, is the error of the function', async () => {
    for (const [what, type] of [
      ['dies', 'Extension.Crash'],
      ['says so', 'Extension.NoLicence'],
    ] as const) {
      const guest = await start(BAD[what] ?? '');
      const failed = await load(guest);
      assert.equal(failed.type, FrameType.loadFailed);
      assert.equal(failureOf(failed).type, type);
      assert.match(failureOf(failed).message, /agent/);
      await guest.remove();
    }
  });

  test('one that cannot be started is named', async () => {
    const guest = await start('#!/nothing/at/all\n');
    const failed = await load(guest);
    assert.equal(failureOf(failed).type, 'Extension.LaunchError');
    await guest.remove();
  });

  test('one that dies in an invocation, and one that never asks again, end the VM', async () => {
    const dying = await start(`${CLIENT} register(['INVOKE']).then(next).then(() => process.exit(6));`);
    assert.equal((await load(dying)).type, FrameType.loaded);
    const failed = await dying.invoke('{"do":"hang"}');
    assert.equal(failureOf(failed).type, 'Extension.Crash');
    assert.equal((await dying.remove()).status, 1);
    const hanging = await start(`${CLIENT} register(['INVOKE']).then(next); setInterval(() => undefined, 1000);`);
    assert.equal((await load(hanging)).type, FrameType.loaded);
    assert.equal((await hanging.invoke('{"do":"count"}', { deadline_ms: Date.now() })).payload.toString(), '1');
    assert.equal((await hanging.remove()).status, 1);
  });
});
