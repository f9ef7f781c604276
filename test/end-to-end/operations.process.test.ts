/** Every operation that AWS's SDK knows is answered, or refused in a way that the SDK can tell by its type; none is our fault. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import { CONTROL } from '../../src/controller/gateway/lambda/control/table.ts';
import { API_ERRORS } from '../../src/controller/gateway/lambda/errors.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import { packageOf, PATIENCE, Role, withSnapctr } from './control.ts';

const CODE = 'arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0';
const FUNCTION = 'arn:aws:lambda:us-east-1:000000000000:function:made';
const LAYER = 'arn:aws:lambda:us-east-1:000000000000:layer:shared:1';
const CONFIGURATION = {
  ...({ Role, Runtime: 'python3.12', Handler: 'main.handle' } as const),
  Code: { ZipFile: packageOf('other') },
};

/** Members for all operations: the SDK takes of them what belongs to each. */
const MEMBERS = {
  ...{ FunctionName: 'made', Name: 'live', FunctionVersion: '$LATEST', Qualifier: '$LATEST', Payload: '{}' },
  ...{ InvokeArgs: '{}', Timeout: 4, ZipFile: packageOf('new'), ReservedConcurrentExecutions: 1 },
  ...{ ProvisionedConcurrentExecutions: 1, StatementId: 's', Action: 'lambda:InvokeFunction', Principal: '*' },
  ...{ Resource: FUNCTION, ResourceArn: FUNCTION, Tags: { a: 'b' }, TagKeys: ['a'], Policy: '{}', AuthType: 'NONE' },
  ...{ LayerName: 'shared', VersionNumber: 1, Arn: LAYER, Content: { ZipFile: packageOf('layer') } },
  ...{ UUID: '01234567-89ab-cdef-0123-456789abcdef', EventSourceArn: 'arn:aws:nats:us-east-1:000000000000:stream/S' },
  ...{ MaximumRetryAttempts: 1, CodeSigningConfigArn: CODE, AllowedPublishers: { SigningProfileVersionArns: [CODE] } },
  ...{ RecursiveLoop: 'Allow', UpdateRuntimeOn: 'Auto', DurableExecutionArn: `${FUNCTION}/durable/e`, CallbackId: 'c' },
  ...{ CheckpointToken: 't', CapacityProviderName: 'provider', OrganizationId: 'o-0123456789' },
  ...{ PermissionsConfig: { CapacityProviderOperatorRoleArn: Role } },
  VpcConfig: { SubnetIds: [], SecurityGroupIds: [] },
} as const;

type Operation = new (input: typeof MEMBERS) => Parameters<sdk.LambdaClient['send']>[0];

/** By their names, those that remove behind the others. */
const OPERATIONS = Object.entries(sdk)
  .filter(([name]) => /^[A-Z]\w+Command$/.test(name))
  .map(([name, command]) => [name.replace(/Command$/, ''), command as unknown as Operation] as const)
  .sort(([one], [other]) => Number(one.startsWith('Delete')) - Number(other.startsWith('Delete')));

const SERVED: ReadonlySet<string> = new Set([
  ...Object.keys(CONTROL),
  ...['Invoke', 'InvokeAsync', 'InvokeWithResponseStream', 'GetFunction', 'GetFunctionConfiguration', 'ListFunctions'],
]);
const TYPES: ReadonlySet<string> = new Set(Object.keys(API_ERRORS));

test('every operation of the SDK is answered, or refused by type', { timeout: 300_000 }, async () => {
  assert.ok(OPERATIONS.length >= 85, `the SDK has ${OPERATIONS.length} operations`);
  await withSnapctr(async ({ url }) => {
    const client = lambdaClient(url, { maxAttempts: 1 });
    const outcomeOf = async (command: Operation, more: object = {}): Promise<string> => {
      try {
        await client.send(new command({ ...MEMBERS, ...more }));
        return 'answered';
      } catch (error) {
        // Whatever else is thrown never reached snapctr, or its answer was none.
        if (!(error instanceof sdk.LambdaServiceException)) throw error;
        const { name, message, $metadata } = error;
        const { httpStatusCode: status = 0, requestId } = $metadata;
        assert.ok(TYPES.has(name) && status >= 400 && status < 500, `${status} ${name}: ${message}`);
        assert.match(requestId ?? '', /^[0-9a-f-]{36}$/, message);
        assert.notEqual(message, '');
        return name;
      }
    };
    try {
      // Of a function that is not there, and of one that is.
      for (const FunctionName of ['nobody', 'made']) {
        if (FunctionName === 'made') {
          await client.send(new sdk.CreateFunctionCommand({ ...CONFIGURATION, FunctionName }));
          await sdk.waitUntilFunctionActiveV2({ client, ...PATIENCE }, { FunctionName });
        }
        for (const [name, command] of OPERATIONS) {
          const isCreate = name === 'CreateFunction';
          const outcome = await outcomeOf(command, isCreate ? CONFIGURATION : { FunctionName }).catch(
            (error: unknown) => {
              throw new Error(`${name} of ${FunctionName}`, { cause: error });
            },
          );
          assert.equal(outcome === 'UnknownOperationException', !SERVED.has(name), `${name}: ${outcome}`);
        }
      }
    } finally {
      client.destroy();
    }
  });
});
