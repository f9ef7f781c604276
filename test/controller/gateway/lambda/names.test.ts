import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError } from '../../../../src/controller/gateway/lambda/errors.ts';
import {
  findFunction,
  invokedArn,
  parseFunctionName,
  type FoundFunction,
} from '../../../../src/controller/gateway/lambda/names.ts';
import { functionConfig, registryOf } from '../../../support/scripted-guests.ts';

const ACCOUNT = { region: 'us-east-1', accountId: '000000000000' };
const ARN = 'arn:aws:lambda:us-east-1:000000000000:function:hello';

for (const [text, qualifier, expected] of [
  ['hello', null, { name: 'hello', qualifier: null }],
  ['hello:$LATEST', null, { name: 'hello', qualifier: '$LATEST' }],
  ['hello', '$LATEST', { name: 'hello', qualifier: '$LATEST' }],
  ['hello', '', { name: 'hello', qualifier: null }],
  ['hello:prod', 'prod', { name: 'hello', qualifier: 'prod' }],
  ['000000000000:function:hello', null, { name: 'hello', qualifier: null }],
  ['function:hello', null, { name: 'hello', qualifier: null }],
  [ARN, null, { name: 'hello', qualifier: null }],
  [`${ARN}:7`, null, { name: 'hello', qualifier: '7' }],
  ['arn:aws:lambda:us-east-1:000000000000:function:a.b_c-9', null, { name: 'a.b_c-9', qualifier: null }],
] as const) {
  test(`names: ${text}${qualifier === null ? '' : ` with the qualifier "${qualifier}"`} is understood`, () => {
    assert.deepEqual(parseFunctionName(text, qualifier, ACCOUNT), expected);
  });
}

for (const [text, qualifier, name, words] of [
  ['invalid:function:name', null, 'ValidationException', /^1 validation error detected: Value 'invalid:function:name'/],
  ['', null, 'ValidationException', /regular expression pattern/],
  ['a b', null, 'ValidationException', /regular expression pattern/],
  ['a'.repeat(65), null, 'ValidationException', /length less than or equal to 64/],
  ['a'.repeat(300), null, 'ValidationException', /length less than or equal to 256/],
  ['hello', 'a b', 'ValidationException', /'qualifier'/],
  ['hello:1', '2', 'InvalidParameterValueException', /^The derived qualifier from the function name does not match/],
  [
    ARN.replace('us-east-1', 'eu-west-1'),
    null,
    'ResourceNotFoundException',
    /^Functions from 'eu-west-1' are not reachable in this region \('us-east-1'\)$/,
  ],
  [
    ARN.replace('aws', 'aws-cn'),
    null,
    'ResourceNotFoundException',
    /^Functions from 'aws-cn' are not reachable in this partition \('aws'\)$/,
  ],
  [ARN.replace('000000000000', '123456789012'), null, 'AccessDeniedException', /another account/],
] as const) {
  test(`names: ${text.slice(0, 60)} with the qualifier ${qualifier} is ${name}`, () => {
    assert.throws(
      () => parseFunctionName(text, qualifier, ACCOUNT),
      (error) => {
        assert.ok(error instanceof ApiError);
        assert.equal(error.name, name);
        assert.match(error.message, words);
        return true;
      },
    );
  });
}

test('names: a function has $LATEST, versions with numbers and aliases, one or two of which an alias leads to', () => {
  const functions = registryOf([functionConfig('hello'), functionConfig('hello', { version: '1' })]);
  functions.configure('hello', {
    aliases: [
      { name: 'live', version: 1, routing: null },
      { name: 'both', version: 1, routing: { version: 2, weight: 0.5 } },
    ],
  });
  const fn = functions.get('hello');
  const find = (name: string, qualifier: string | null): FoundFunction =>
    findFunction(functions, { name, qualifier }, ACCOUNT, ':$LATEST');
  for (const qualifier of [null, '$LATEST']) assert.equal(find('hello', qualifier).version, fn);
  for (const qualifier of ['1', 'live']) assert.equal(find('hello', qualifier).version, fn?.published.get('1'));
  assert.deepEqual(find('hello', 'both'), { fn, version: null });
  for (const none of ['2', 'dead']) {
    assert.throws(() => find('hello', none), { message: `Function not found: ${ARN}:${none}` });
  }
  assert.throws(() => find('nobody', null), {
    message: `Function not found: ${ARN.replace('hello', 'nobody')}:$LATEST`,
  });
});

test('names: the ARN in the context has a qualifier only if the caller gave one', () => {
  assert.equal(invokedArn(ACCOUNT, { name: 'hello', qualifier: null }), ARN);
  assert.equal(invokedArn(ACCOUNT, { name: 'hello', qualifier: '$LATEST' }), `${ARN}:$LATEST`);
});
