/** An alias with weights sends its share of invocations to each of its versions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import { invoke, packageOf, PATIENCE, Role, withSnapctr } from './control.ts';

const INVOCATIONS = 1000;
const CLIENTS = 8;
/** Of chi-square with one degree of freedom: passed by chance once in a million runs. */
const CHI_SQUARE_BOUND = 23.93;

/** How far the numbers are from the shares, of which the second is for the second number. */
function chiSquare([first, second]: readonly [number, number], share: number): number {
  const expected = [INVOCATIONS * (1 - share), INVOCATIONS * share] as const;
  return (first - expected[0]) ** 2 / expected[0] + (second - expected[1]) ** 2 / expected[1];
}

test('a share of the invocations of an alias is run by its second version', { timeout: 300_000 }, async () => {
  await withSnapctr(async ({ client }) => {
    const FunctionName = 'made';
    await client.send(
      new sdk.CreateFunctionCommand({
        ...{ FunctionName, Role, Runtime: 'python3.12', Handler: 'main.handle', Publish: true },
        Code: { ZipFile: packageOf('one') },
      }),
    );
    await sdk.waitUntilFunctionActiveV2({ client, ...PATIENCE }, { FunctionName });
    await client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile: packageOf('two'), Publish: true }));
    await sdk.waitUntilPublishedVersionActive({ client, ...PATIENCE }, { FunctionName, Qualifier: '2' });
    const alias = { FunctionName, Name: 'live', FunctionVersion: '1' } as const;
    const weights = (share: number): Pick<sdk.CreateAliasCommandInput, 'RoutingConfig'> => ({
      RoutingConfig: { AdditionalVersionWeights: { '2': share } },
    });
    /** Of all invocations, those that either version ran; what it says of itself is what the answer says. */
    const counted = async (): Promise<readonly [number, number]> => {
      const ran = { one: 0, two: 0 };
      const versions = { one: '1', two: '2' };
      let left = INVOCATIONS;
      const clientOf = async (): Promise<void> => {
        while (left > 0) {
          left -= 1;
          const [word, version] = (await invoke(client, FunctionName, 'live')) as readonly ['one' | 'two', string];
          assert.equal(version, versions[word]);
          ran[word] += 1;
        }
      };
      await Promise.all(Array.from({ length: CLIENTS }, clientOf));
      return [ran.one, ran.two];
    };

    await client.send(new sdk.CreateAliasCommand({ ...alias, ...weights(0.3) }));
    const thirds = await counted();
    assert.ok(chiSquare(thirds, 0.3) < CHI_SQUARE_BOUND, `of 0.7 and 0.3: ${thirds.join(' and ')}`);
    await client.send(new sdk.UpdateAliasCommand({ ...alias, ...weights(0.05) }));
    const few = await counted();
    assert.ok(chiSquare(few, 0.05) < CHI_SQUARE_BOUND, `of 0.95 and 0.05: ${few.join(' and ')}`);
    // The ends are no matter of chance.
    for (const [share, ran] of [
      [0, [INVOCATIONS, 0]],
      [1, [0, INVOCATIONS]],
    ] as const) {
      await client.send(new sdk.UpdateAliasCommand({ ...alias, ...weights(share) }));
      assert.deepEqual(await counted(), ran);
    }
    const cases: readonly (readonly [Readonly<Record<string, number>>, string])[] = [
      [{ '2': 1.1 }, 'ValidationException'],
      [{ '2': 0.1, '1': 0.1 }, 'InvalidParameterValueException'],
      [{ '7': 0.1 }, 'ResourceNotFoundException'],
    ];
    for (const [AdditionalVersionWeights, name] of cases) {
      const refused = new sdk.UpdateAliasCommand({ ...alias, RoutingConfig: { AdditionalVersionWeights } });
      await assert.rejects(client.send(refused), { name });
    }
  });
});
