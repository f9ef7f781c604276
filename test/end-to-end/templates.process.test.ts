/** `snapctr deploy` with templates of SAM and CDK, against a running controller. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import {
  createWorkspace,
  run,
  SNAPCTR,
  startController,
  type Finished,
  type RunningController,
} from '../support/snapctr.ts';

const workspace = createWorkspace([
  {
    name: 'filed',
    runtime: 'nodejs',
    keys: { handler: 'index.handler' },
    files: { 'index.js': 'exports.handler = async () => 1;\n' },
  },
]);
let controller: RunningController;
let project: string;
let projects = 0;

before(async () => {
  controller = await startController(workspace, {
    vmm: 'process',
    args: ['--data-dir', join(workspace.directory, 'kept')],
  });
});
beforeEach(() => {
  projects += 1;
  project = join(workspace.directory, `project-${projects}`);
});
after(async () => {
  await controller.stop();
  workspace.remove();
});

function write(files: Readonly<Record<string, string | object>>): void {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(project, name)), { recursive: true });
    writeFileSync(join(project, name), typeof content === 'string' ? content : JSON.stringify(content));
  }
}

function snapctr(...args: readonly string[]): Promise<Finished> {
  return run(SNAPCTR, [...args, '--endpoint', controller.url], { workspace });
}

interface Deployed {
  readonly layers: readonly { readonly name: string; readonly change: string }[];
  readonly functions: readonly { readonly id: string; readonly name: string; readonly change: string }[];
  readonly versions: readonly { readonly Version: string }[];
  readonly aliases: readonly { readonly Name: string; readonly FunctionVersion: string }[];
  readonly urls: readonly { readonly FunctionUrl: string; readonly FunctionArn: string }[];
  readonly schedules: readonly unknown[];
  readonly notes: readonly string[];
}

async function deploy(path: string, ...args: readonly string[]): Promise<Deployed> {
  const { status, stdout, stderr } = await snapctr('deploy', path, '--json', ...args);
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as Deployed;
}

async function refusal(path: string, ...args: readonly string[]): Promise<string> {
  const { status, stderr } = await snapctr('deploy', path, ...args);
  assert.equal(status, 2, stderr);
  return stderr;
}

async function answerOf(name: string): Promise<unknown> {
  const { status, stdout, stderr } = await snapctr('invoke', name, '--payload', '{}');
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

async function api(path: string): Promise<Readonly<Record<string, unknown>>> {
  return (await (await fetch(`${controller.url}${path}`)).json()) as Readonly<Record<string, unknown>>;
}

const SAM = `
AWSTemplateFormatVersion: '2010-09-09'
Transform: AWS::Serverless-2016-10-31
Parameters:
  Stage: {Type: String, Default: test}
Globals:
  Function:
    Runtime: python3.11
    Timeout: 7
    Environment: {Variables: {STAGE: !Ref Stage, SHARED: 'yes'}}
Resources:
  Words:
    Type: AWS::Serverless::LayerVersion
    Properties: {LayerName: words, ContentUri: layer/, CompatibleRuntimes: [python3.11]}
  Table: {Type: AWS::DynamoDB::Table}
  Greeter:
    Type: AWS::Serverless::Function
    Properties:
      FunctionName: !Sub 'greeter-\${Stage}'
      CodeUri: greeter/
      Handler: app.handler
      MemorySize: 256
      AutoPublishAlias: live
      ProvisionedConcurrencyConfig: {ProvisionedConcurrentExecutions: 1}
      FunctionUrlConfig: {AuthType: NONE}
      Layers: [!Ref Words]
      Tags: {team: shop}
      Environment: {Variables: {TABLE: !Ref Table, OTHER: !GetAtt Inline.Arn}}
      Events:
        Api: {Type: Api, Properties: {Path: /, Method: get}}
        Often: {Type: Schedule, Properties: {Schedule: rate(5 minutes), Name: often}}
        Later: {Type: ScheduleV2, Properties: {ScheduleExpression: 'at(2030-01-01T00:00:00)'}}
        Nightly:
          Type: ScheduleV2
          Properties:
            ScheduleExpression: cron(0 3 * * ? *)
            ScheduleExpressionTimezone: Europe/Berlin
            FlexibleTimeWindow: {Mode: 'OFF'}
            State: DISABLED
            Input: '{"full":true}'
            RetryPolicy: {MaximumRetryAttempts: 1}
      Policies: [AWSLambdaBasicExecutionRole]
  Inline:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: nodejs24.x
      Handler: index.handler
      ReservedConcurrentExecutions: 3
      InlineCode: |
        exports.handler = async () => process.env.STAGE;
  Queue:
    Type: AWS::Lambda::EventSourceMapping
    Properties: {FunctionName: !Ref Greeter, EventSourceArn: 'arn:aws:sqs:us-east-1:000000000000:q'}
  Allowed:
    Type: AWS::Lambda::Permission
    Properties: {Action: 'lambda:InvokeFunction', FunctionName: !Ref Inline, Principal: s3.amazonaws.com, SourceArn: 'arn:aws:s3:::b'}
`;
const SAM_FILES = {
  'template.yaml': SAM,
  'greeter/app.py':
    'import os, words\ndef handler(event, context):\n    keys = ["STAGE", "SHARED", "TABLE", "OTHER"]\n' +
    '    return [words.HELLO, context.memory_limit_in_mb, {key: os.environ.get(key) for key in keys}]\n',
  'layer/python/words.py': 'HELLO = "hello"\n',
};

test('SAM: functions, a layer, an alias, tags and permissions come; again, nothing changes; then what has changed', async () => {
  write(SAM_FILES);
  const first = await deploy(project, '--parameter', 'Stage=one');
  assert.deepEqual(
    first.functions.map(({ id, name, change }) => [id, name, change]),
    [
      ['Greeter', 'greeter-one', 'created'],
      ['Inline', 'Inline', 'created'],
    ],
  );
  const told = first.notes.join('\n');
  assert.match(told, /Greeter does not get the variable TABLE: it needs Table \(AWS::DynamoDB::Table\)/);
  assert.match(told, /of Greeter these events are left out: Api \(Api\)/);
  assert.match(told, /the schedule Later of Greeter is left out: "at\(.*\)" is neither rate\(…\) nor cron\(…\)/);
  assert.match(told, /of the schedule Nightly of Greeter these are left out: RetryPolicy/);
  assert.match(told, /Queue is left out: its source is no stream of NATS JetStream/);
  assert.deepEqual(first.schedules, [
    { functionName: 'greeter-one', name: 'often' },
    { functionName: 'greeter-one', name: 'Nightly' },
  ]);
  const { stdout } = await snapctr('schedule', 'show', 'greeter-one', 'Nightly', '--json');
  const nightly = JSON.parse(stdout) as Record<string, unknown>;
  assert.equal(nightly['expression'], 'cron(0 3 * * ? *)');
  assert.equal(nightly['timeZone'], 'Europe/Berlin');
  assert.deepEqual([nightly['qualifier'], nightly['state'], nightly['input']], ['live', 'paused', '{"full":true}']);
  assert.match(told, /AWS::DynamoDB::Table is left out: Table/);
  assert.doesNotMatch(told, /Policies/);
  const inline = 'arn:aws:lambda:us-east-1:000000000000:function:Inline';
  const expected = ['hello', '256', { STAGE: 'one', SHARED: 'yes', TABLE: null, OTHER: inline }];
  assert.deepEqual(await answerOf('greeter-one:live'), expected);
  assert.equal(await answerOf('Inline'), 'one');
  assert.deepEqual((await api('/2015-03-31/functions/greeter-one'))['Tags'], { team: 'shop' });
  assert.deepEqual((await api('/2015-03-31/functions/Inline'))['Concurrency'], { ReservedConcurrentExecutions: 3 });
  assert.match(String((await api('/2015-03-31/functions/Inline/policy'))['Policy']), /"Sid":"Allowed".*arn:aws:s3:::b/);

  assert.deepEqual(
    first.urls.map(({ FunctionArn }) => FunctionArn),
    ['arn:aws:lambda:us-east-1:000000000000:function:greeter-one:live'],
  );
  assert.deepEqual(await (await fetch(`${controller.url}/url/greeter-one:live/`)).json(), expected);
  const provisioned = await api('/2019-09-30/functions/greeter-one/provisioned-concurrency?Qualifier=live');
  assert.equal(provisioned['RequestedProvisionedConcurrentExecutions'], 1);

  const again = await deploy(join(project, 'template.yaml'), '--parameter', 'Stage=one');
  const changes = [...again.functions, ...again.layers].map(({ change }) => change);
  assert.deepEqual(changes, ['unchanged', 'unchanged', 'unchanged']);
  assert.deepEqual(
    again.aliases.map(({ Name, FunctionVersion }) => [Name, FunctionVersion]),
    [['live', '1']],
  );

  write({ 'layer/python/words.py': 'HELLO = "goodbye"\n' });
  const third = await deploy(project, '--parameter', 'Stage=one', '--parameter', 'Table=orders');
  assert.deepEqual(
    third.functions.map(({ change }) => change),
    ['updated', 'unchanged'],
  );
  const changed = ['goodbye', '256', { STAGE: 'one', SHARED: 'yes', TABLE: 'orders', OTHER: inline }];
  assert.deepEqual(await answerOf('greeter-one:live'), changed);
  assert.deepEqual(
    third.aliases.map(({ FunctionVersion }) => FunctionVersion),
    ['2'],
  );
});

test('CDK: what "cdk synth" made, with its assets, versions and aliases', async () => {
  const asset = 'asset.0123456789abcdef';
  const template = {
    Resources: {
      Shop1A2B: {
        Type: 'AWS::Lambda::Function',
        Properties: {
          Code: { S3Bucket: { 'Fn::Sub': 'cdk-hnb-assets-${AWS::AccountId}' }, S3Key: '0123456789abcdef.zip' },
          Handler: 'index.handler',
          Runtime: 'nodejs24.x',
          Role: { 'Fn::GetAtt': ['Role9C', 'Arn'] },
        },
        DependsOn: ['Role9C'],
      },
      Role9C: { Type: 'AWS::IAM::Role', Properties: {} },
      Version77: {
        Type: 'AWS::Lambda::Version',
        Properties: { FunctionName: { Ref: 'Shop1A2B' }, Description: 'first' },
      },
      Alias88: {
        Type: 'AWS::Lambda::Alias',
        Properties: {
          FunctionName: { Ref: 'Shop1A2B' },
          FunctionVersion: { 'Fn::GetAtt': ['Version77', 'Version'] },
          Name: 'live',
        },
      },
      Invoke99: {
        Type: 'AWS::Lambda::Permission',
        Properties: {
          Action: 'lambda:InvokeFunction',
          FunctionName: { Ref: 'Alias88' },
          Principal: 'events.amazonaws.com',
        },
      },
      CDKMetadata: { Type: 'AWS::CDK::Metadata', Condition: 'Never' },
    },
    Conditions: { Never: { 'Fn::Equals': [{ Ref: 'AWS::Region' }, 'nowhere'] } },
  };
  const stack = (templateFile: string): object => ({ type: 'aws:cloudformation:stack', properties: { templateFile } });
  const destinations = { here: { bucketName: 'b', objectKey: '0123456789abcdef.zip' } };
  write({
    'cdk.out/cdk.out': '{"version":"48.0.0"}',
    'cdk.out/manifest.json': {
      version: '48.0.0',
      artifacts: {
        Shop: stack('Shop.template.json'),
        Other: stack('Other.template.json'),
        Tree: { type: 'cdk:tree', properties: { file: 'tree.json' } },
      },
    },
    'cdk.out/Shop.template.json': template,
    'cdk.out/Shop.assets.json': { files: { hash: { source: { path: asset, packaging: 'zip' }, destinations } } },
    'cdk.out/Other.template.json': { Resources: {} },
    [`cdk.out/${asset}/index.js`]: 'exports.handler = async () => "from cdk";\n',
  });
  const out = join(project, 'cdk.out');
  assert.match(await refusal(out), /several stacks; name one by --stack: Shop, Other/);
  assert.match(await refusal(out, '--stack', 'None'), /no stack "None"; it has: Shop, Other/);
  const deployed = await deploy(out, '--stack', 'Shop');
  assert.deepEqual(deployed.notes, []);
  assert.equal(await answerOf('Shop1A2B:live'), 'from cdk');
  const policy = await api('/2015-03-31/functions/Shop1A2B/policy?Qualifier=live');
  assert.match(String(policy['Policy']), /"Sid":"Invoke99"/);
  const again = await deploy(join(out, 'Shop.template.json'));
  assert.deepEqual(
    again.functions.map(({ change }) => change),
    ['unchanged'],
  );
});

test('templates that cannot be deployed are refused at their place, and nothing is made', async () => {
  const functionOf = (properties: string): string =>
    `Resources:\n  Fn:\n    Type: AWS::Serverless::Function\n    Properties:\n      ${properties}\n`;
  const cases: readonly (readonly [string, RegExp])[] = [
    ['{Handler: a.b, Runtime: nodejs24.x}', /template\.yaml:5:7: Fn needs `CodeUri`: where its files are/],
    ['{CodeUri: none/}', /template\.yaml:5:17: .*none does not exist; correct the path, or build first/],
    ['{CodeUri: s3://bucket/key}', /s3:\/\/bucket\/key is not on this machine/],
    ['{CodeUri: {Bucket: b, Key: k}}', /the files of Fn are in S3/],
    ['{CodeUri: ., FunctionName: !Ref Missing}', /`FunctionName` of Fn cannot be told: it names Missing/],
    ['{CodeUri: ., Timeout: soon}', /`Timeout` must be a whole number, not "soon"/],
    ['{CodeUri: ., PackageType: Image}', /container images cannot be deployed by this/],
    ['{CodeUri: ., Environment: {Variables: {A: [1]}}}', /the variable A must be a text/],
    ['{CodeUri: ., Layers: arn}', /must be a list of ARNs/],
  ];
  for (const [properties, message] of cases) {
    write({ 'template.yaml': functionOf(properties) });
    assert.match(await refusal(join(project, 'template.yaml')), message);
  }
  write({
    'template.yaml': SAM.replace("!Sub 'greeter-${Stage}'", 'Inline'),
    'greeter/app.py': '',
    'layer/python/a.py': '',
  });
  assert.match(await refusal(project), /"Inline" is also the name of Greeter/);
  assert.match(await refusal(project, '--memory', '256'), /a template says itself what --memory would/);
  write({ 'plain/index.js': 'exports.handler = async () => 1;\n' });
  assert.match(await refusal(join(project, 'plain'), '--stack', 'A'), /is no template: --parameter and --stack/);
  assert.equal((await fetch(`${controller.url}/2015-03-31/functions/Fn`)).status, 404);
});
