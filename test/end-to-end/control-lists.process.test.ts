/** Lists in pages: each entry comes once, in order, whatever the size of a page, also where something goes between two pages. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import { lambdaClient } from '../support/lambda-client.ts';
import { createWorkspace, startController, type RunningController } from '../support/snapctr.ts';
import { errorOf, packageOf, PATIENCE, Role } from './control.ts';

const FunctionName = 'made';
const LayerName = 'shared';
const VERSIONS = ['$LATEST', '1', '2', '3', '4', '5'];
const ALIASES = ['a', 'b', 'c', 'd', 'e'];
const LAYERS = ['alpha', 'beta', LayerName];

/** A page of names, and where the next one begins. */
type Page = (MaxItems: number, Marker?: string) => Promise<readonly [readonly unknown[], string | undefined]>;

describe('lists in pages', { timeout: 300_000 }, () => {
  const workspace = createWorkspace([]);
  let controller: RunningController;
  let client: sdk.LambdaClient;

  before(async () => {
    controller = await startController(workspace, { vmm: 'process' });
    client = lambdaClient(controller.url, { maxAttempts: 1 });
    await client.send(
      new sdk.CreateFunctionCommand({
        ...{ FunctionName, Role, Runtime: 'python3.12', Handler: 'main.handle', Code: { ZipFile: packageOf('one') } },
      }),
    );
    for (const Version of VERSIONS.slice(1)) {
      await sdk.waitUntilFunctionUpdatedV2({ client, ...PATIENCE }, { FunctionName });
      await client.send(new sdk.UpdateFunctionConfigurationCommand({ FunctionName, Timeout: Number(Version) }));
      await sdk.waitUntilFunctionUpdatedV2({ client, ...PATIENCE }, { FunctionName });
      await client.send(new sdk.PublishVersionCommand({ FunctionName }));
    }
    for (const [index, Name] of ALIASES.entries()) {
      const FunctionVersion = index < 3 ? '1' : '2';
      await client.send(new sdk.CreateAliasCommand({ FunctionName, Name, FunctionVersion }));
    }
    const Content = { ZipFile: packageOf('layer') };
    for (const name of [...LAYERS, LayerName, LayerName, LayerName]) {
      await client.send(new sdk.PublishLayerVersionCommand({ LayerName: name, Content }));
    }
  });
  after(async () => {
    client.destroy();
    await controller.stop();
    workspace.remove();
  });

  const page = (MaxItems: number, Marker?: string): { MaxItems: number; Marker?: string } => ({
    MaxItems,
    ...(Marker !== undefined && { Marker }),
  });
  const versions: Page = async (...args) => {
    const answer = await client.send(new sdk.ListVersionsByFunctionCommand({ FunctionName, ...page(...args) }));
    return [(answer.Versions ?? []).map(({ Version }) => Version), answer.NextMarker];
  };
  const aliases: Page = async (...args) => {
    const answer = await client.send(new sdk.ListAliasesCommand({ FunctionName, ...page(...args) }));
    return [(answer.Aliases ?? []).map(({ Name }) => Name), answer.NextMarker];
  };
  const aliasesOfOne: Page = async (...args) => {
    const answer = await client.send(
      new sdk.ListAliasesCommand({ FunctionName, FunctionVersion: '1', ...page(...args) }),
    );
    return [(answer.Aliases ?? []).map(({ Name }) => Name), answer.NextMarker];
  };
  const layers: Page = async (...args) => {
    const answer = await client.send(new sdk.ListLayersCommand(page(...args)));
    return [(answer.Layers ?? []).map((one) => one.LayerName), answer.NextMarker];
  };
  const layerVersions: Page = async (...args) => {
    const answer = await client.send(new sdk.ListLayerVersionsCommand({ LayerName, ...page(...args) }));
    return [(answer.LayerVersions ?? []).map(({ Version }) => Version), answer.NextMarker];
  };

  for (const [name, list, all] of [
    ['ListVersionsByFunction', versions, VERSIONS],
    ['ListAliases', aliases, ALIASES],
    ['ListAliases of one version', aliasesOfOne, ALIASES.slice(0, 3)],
    ['ListLayers', layers, LAYERS],
    ['ListLayerVersions', layerVersions, [4, 3, 2, 1]],
  ] as const) {
    test(`${name}: pages of any size have all of it, each once`, async () => {
      for (const size of [1, 2, all.length - 1, all.length, 50]) {
        const found: unknown[] = [];
        let marker: string | undefined;
        let pages = 0;
        do {
          const [entries, next] = await list(size, marker);
          assert.ok(entries.length <= size && entries.length > 0, `${entries.length} of ${size}`);
          found.push(...entries);
          pages += 1;
          assert.ok(pages <= all.length, found.join());
          marker = next;
        } while (marker !== undefined);
        assert.deepEqual(found, all);
        assert.equal(pages, Math.ceil(all.length / size));
      }
    });

    test(`${name}: a page of none or of too many, and a marker that is none, are refused`, async () => {
      for (const size of [0, -1, 10_001]) {
        assert.equal((await errorOf(list(size))).name, 'ValidationException', String(size));
      }
      const { name: error } = await errorOf(list(1, 'no marker of ours'));
      assert.equal(error, 'InvalidParameterValueException');
    });
  }

  test('what is removed or made between two pages hides and repeats nothing else', async () => {
    const [first, marker] = await versions(3);
    assert.deepEqual(first, ['$LATEST', '1', '2']);
    await client.send(new sdk.DeleteFunctionCommand({ FunctionName, Qualifier: '3' }));
    assert.deepEqual(await versions(2, marker), [['4', '5'], undefined]);
    const [, next] = await aliases(2);
    await client.send(new sdk.DeleteAliasCommand({ FunctionName, Name: 'b' }));
    await client.send(new sdk.CreateAliasCommand({ FunctionName, Name: 'aa', FunctionVersion: '1' }));
    assert.deepEqual((await aliases(2, next))[0], ['c', 'd']);
    const [newest, rest] = await layerVersions(2);
    assert.deepEqual(newest, [4, 3]);
    await client.send(new sdk.DeleteLayerVersionCommand({ LayerName, VersionNumber: 3 }));
    await client.send(new sdk.PublishLayerVersionCommand({ LayerName, Content: { ZipFile: packageOf('newer') } }));
    assert.deepEqual(await layerVersions(5, rest), [[2, 1], undefined]);
  });
});
