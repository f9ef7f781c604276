/** What the intrinsic functions of CloudFormation templates come to, and what cannot be told without AWS. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { ClientError } from '../../src/client/client-error.ts';
import { Intrinsics, Unresolved, type Given } from '../../src/client/template/intrinsics.ts';
import { readTemplate, type Template } from '../../src/client/template/template-file.ts';

const directory = mkdtempSync(join(tmpdir(), 'snapfaas-test-'));
after(() => rmSync(directory, { recursive: true }));

const HEAD = `
Parameters:
  Stage: {Type: String, Default: test, AllowedValues: [test, live]}
  Names: {Type: CommaDelimitedList, Default: 'a, b'}
  Needed: {Type: String}
  Kept: {Type: 'AWS::SSM::Parameter::Value<String>', Default: /some/path}
Mappings:
  ByStage: {test: {Size: 128, Zones: [x, y]}, live: {Size: 512}}
Conditions:
  IsLive: !Equals [!Ref Stage, live]
  IsTest: !Not [!Condition IsLive]
  Both: !And [!Condition IsLive, !Condition IsTest]
  Either: {'Fn::Or': [{Condition: IsLive}, {Condition: IsTest}]}
  Turning: !Not [!Condition Turning]
Resources:
  Table: {Type: 'AWS::DynamoDB::Table'}
  Fn:
    Type: AWS::Lambda::Function
    Properties:
      Value: `;

function templateOf(value: string): Template {
  const file = join(directory, 'shop.yaml');
  writeFileSync(file, HEAD + value);
  return readTemplate(file, false, undefined);
}

function valueOf(text: string, given: Given = {}): unknown {
  const template = templateOf(text);
  const account = { region: 'eu-west-1', accountId: '123456789012' };
  const lookup = (id: string, attribute: string | null): string | undefined =>
    new Map([
      ['Fn', 'fn'],
      ['Fn.Arn', 'arn:fn'],
    ]).get(attribute === null ? id : `${id}.${attribute}`);
  const intrinsics = new Intrinsics(template, given, account, lookup);
  return intrinsics.value(template.resources.get('Fn')?.properties['Value']);
}

const VALUES: readonly (readonly [string, unknown])[] = [
  ['[1, true, text, {a: null}]', [1, true, 'text', { a: null }]],
  ['!Ref Stage', 'test'],
  ['{Ref: Stage}', 'test'],
  ['!Ref Names', ['a', 'b']],
  ['!Ref Fn', 'fn'],
  ['!Ref AWS::Region', 'eu-west-1'],
  ['!Ref AWS::StackName', 'shop'],
  ['!GetAtt Fn.Arn', 'arn:fn'],
  ['!GetAtt [Fn, Arn]', 'arn:fn'],
  ["!Sub '${Stage}-${Fn}-${Fn.Arn}-${AWS::AccountId}-${!Literal}'", 'test-fn-arn:fn-123456789012-${Literal}'],
  ["!Sub ['${Own} ${Stage}', {Own: !Ref Fn, Stage: mine}]", 'fn mine'],
  ["!Join ['-', [a, !Ref Stage, 1]]", 'a-test-1'],
  ["!Join [',', !Ref Names]", 'a,b'],
  ["!Split [',', 'a,b,c']", ['a', 'b', 'c']],
  ["!Select [1, !Split [',', 'a,b,c']]", 'b'],
  ["!Select ['0', !Ref Names]", 'a'],
  ['!FindInMap [ByStage, !Ref Stage, Size]', 128],
  ['!FindInMap [ByStage, test, Zones]', ['x', 'y']],
  ['!If [IsLive, 1, 2]', 2],
  ['!If [IsTest, !If [Both, 1, 2], 3]', 2],
  ['!If [Either, yes, no]', 'yes'],
  ['{a: !Ref AWS::NoValue, b: [!Ref AWS::NoValue, 1]}', { b: [1] }],
  ['!If [IsLive, 1, !Ref AWS::NoValue]', undefined],
  ['!Base64 text', 'dGV4dA=='],
  ['!Length [1, 2, 3]', 3],
  ['!ToJsonString {a: !Ref Stage}', '{"a":"test"}'],
];

test('intrinsic functions: their values', () => {
  for (const [text, expected] of VALUES) assert.deepEqual(valueOf(text), expected, text);
});

test('intrinsic functions: values that are given win over defaults, and stand for what is not made here', () => {
  assert.equal(valueOf('!If [IsLive, 1, 2]', { Stage: 'live' }), 1);
  assert.equal(valueOf('!Ref Needed', { Needed: '' }), '');
  assert.equal(valueOf('!Ref Kept', { Kept: 'by hand' }), 'by hand');
  assert.equal(valueOf("!Sub '${Table}/${Table.StreamArn}'", { Table: 't', 'Table.StreamArn': 's' }), 't/s');
});

const UNRESOLVED: readonly (readonly [string, RegExp])[] = [
  ['!Ref Needed', /needs the parameter Needed; give it by --parameter Needed=VALUE/],
  ['!Ref Kept', /needs the parameter Kept/],
  ['!Ref Table', /needs Table \(AWS::DynamoDB::Table\), which is not made here; give it by --parameter Table=VALUE/],
  ['!GetAtt Table.Arn', /Table\.Arn \(AWS::DynamoDB::Table\)/],
  ["!Sub '${Missing}'", /names Missing, which is not in the template/],
  ['!ImportValue other', /needs Fn::ImportValue, which only AWS can tell/],
  ["!GetAZs ''", /needs Fn::GetAZs/],
  ['!Ref AWS::StackId', /needs AWS::StackId/],
  ["'{{resolve:secretsmanager:db:SecretString:password}}'", /a value that AWS keeps \(secretsmanager\)/],
  ['!FindInMap [ByStage, none, Size]', /ByStage\.none\.Size, which is not in Mappings/],
  ['!FindInMap [__proto__, constructor, name]', /not in Mappings/],
  ['!Select [7, [a]]', /selects what is not in the list/],
  ['!If [None, 1, 2]', /the condition None, which is not there/],
  ['!If [Turning, 1, 2]', /Turning, which needs itself/],
  ["!Join ['-']", /with too little/],
  ["!Join ['-', [{a: 1}]]", /a list or a map where a text is wanted/],
  ['!Sub {a: 1}', /a Fn::Sub without a text/],
];

test('intrinsic functions: what cannot be told, and why', () => {
  for (const [text, reason] of UNRESOLVED) {
    assert.throws(
      () => valueOf(text),
      (error: Error) => error instanceof Unresolved && reason.test(error.message),
      text,
    );
  }
  const deep = `${'{a: '.repeat(150)}1${'}'.repeat(150)}`;
  assert.throws(() => valueOf(deep), /nested too deeply/);
});

test('parameters that the template does not have, or not with that value, are refused', () => {
  assert.throws(() => valueOf('1', { Stag: 'x' }), /no parameter "Stag"; correct --parameter. It has: Stage, Names/);
  assert.throws(
    () => valueOf('1', { Stage: 'prod' }),
    /"prod" is no value for the parameter Stage; it takes: test, live/,
  );
});

test('what is no template is refused at its place', () => {
  const refusal = (text: string): string => {
    const file = join(directory, 'broken.yaml');
    writeFileSync(file, text);
    try {
      readTemplate(file, false, undefined);
    } catch (error) {
      return (error as ClientError).message;
    }
    return assert.fail(text);
  };
  assert.match(refusal('Resources: {'), /broken\.yaml:1:\d+: not valid YAML/);
  assert.match(refusal('name: shop\n'), /broken\.yaml:1:1: .*Resources/);
  assert.match(refusal('Resources:\n  A: {}\n'), /broken\.yaml:2:\d+: .*Type/);
  assert.match(refusal('Resources:\n  A: {Type: 1}\n'), /broken\.yaml:2:\d+: .*must be a type/);
  assert.match(refusal('[]'), /must be a CloudFormation template/);
});
