import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describe } from '../../../../src/control/describe.ts';
import type { FunctionDescription } from '../../../../src/control/descriptions.ts';
import { CodeFactsCache } from '../../../../src/controller/gateway/lambda/code-facts.ts';
import { listedConfiguration } from '../../../../src/controller/gateway/lambda/control/render.ts';
import { listFunctions, type Catalogue } from '../../../../src/controller/gateway/lambda/functions.ts';
import { functionArn } from '../../../../src/protocol/arn.ts';
import { FunctionRegistry } from '../../../../src/registry/function-registry.ts';
import type { FunctionRecord } from '../../../../src/registry/records.ts';
import { functionRecord, versionRecord } from '../../../registry/records.ts';
import { functionConfig, registryOf } from '../../../support/scripted-guests.ts';

const FUNCTIONS = 130;
const ACCOUNT = { accountId: '000000000000', region: 'us-east-1' };

function createCatalogue(): Catalogue {
  const names = Array.from({ length: FUNCTIONS }, (_, i) => `function-${String(i).padStart(3, '0')}`);
  return {
    functions: registryOf(names.map((name) => functionConfig(name))),
    kept: null,
    account: ACCOUNT,
    facts: new CodeFactsCache('images'),
    usesSnapshots: () => false,
  };
}

test('lambda: a page of functions has 50 at most, as with AWS, whatever is asked for', async () => {
  const catalogue = createCatalogue();
  const sizes: number[] = [];
  const names: unknown[] = [];
  for (let marker: string | undefined = ''; marker !== undefined;) {
    const bytes = await listFunctions(catalogue, new URLSearchParams({ MaxItems: '10000', Marker: marker }));
    const page = JSON.parse(bytes.toString()) as Readonly<Record<string, unknown>>;
    const functions = page['Functions'] as readonly { readonly FunctionName: string }[];
    sizes.push(functions.length);
    names.push(...functions.map(({ FunctionName }) => FunctionName));
    marker = page['NextMarker'] as string | undefined;
  }
  assert.deepEqual(sizes, [50, 50, 30]);
  assert.deepEqual(
    names,
    catalogue.functions.list().map(({ name }) => name),
  );
});

test('lambda: a page is the JSON of what each function is told as, also the second time', async () => {
  const files = createCatalogue();
  const settings = { ...versionRecord().settings, description: 'ø, "quoted", \u2028' };
  const records = ['f-1', 'made'].map((name) =>
    functionRecord(name, { wanted: null, latest: versionRecord({ settings }) }),
  );
  const registry = new FunctionRegistry();
  for (const { name } of records) registry.configure(name, {});
  const find = (name: string): FunctionRecord | undefined => records.find((one) => one.name === name);
  const describeOne = (name: string, qualifier: string | null): FunctionDescription => {
    const record = find(name);
    if (record === undefined) throw new Error(`there is no ${name}`);
    return describe(record, registry.get(name), qualifier, functionArn(ACCOUNT, name));
  };
  const catalogue: Catalogue = { ...files, functions: registry, kept: { find, describe: describeOne } };
  const list = async (query: Readonly<Record<string, string>>): Promise<string> =>
    (await listFunctions(catalogue, new URLSearchParams(query))).toString();
  const told = (name: string, version: string | null): unknown =>
    listedConfiguration(ACCOUNT, describeOne(name, version), version);
  const NextMarker = Buffer.from('made ').toString('base64url');
  for (let round = 0; round < 2; round += 1) {
    assert.equal(await list({}), JSON.stringify({ Functions: [told('f-1', null), told('made', null)] }));
    assert.equal(await list({ MaxItems: '1' }), JSON.stringify({ Functions: [told('f-1', null)], NextMarker }));
    const versions = records.flatMap(({ name }) => [told(name, '$LATEST'), told(name, '2')]);
    assert.equal(await list({ FunctionVersion: 'ALL' }), JSON.stringify({ Functions: versions }));
  }
  assert.equal(
    (await listFunctions({ ...catalogue, functions: new FunctionRegistry() }, new URLSearchParams())).toString(),
    '{"Functions":[]}',
  );
});
