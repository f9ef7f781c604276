import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodeFactsCache } from '../../../../src/controller/gateway/lambda/code-facts.ts';
import { listFunctions, type Catalogue } from '../../../../src/controller/gateway/lambda/functions.ts';
import { functionConfig, registryOf } from '../../../support/scripted-guests.ts';

const FUNCTIONS = 130;

function createCatalogue(): Catalogue {
  const names = Array.from({ length: FUNCTIONS }, (_, i) => `function-${String(i).padStart(3, '0')}`);
  return {
    functions: registryOf(names.map((name) => functionConfig(name))),
    kept: null,
    account: { accountId: '000000000000', region: 'us-east-1' },
    facts: new CodeFactsCache('images'),
    usesSnapshots: () => false,
  };
}

test('lambda: a page of functions has 50 at most, as with AWS, whatever is asked for', async () => {
  const catalogue = createCatalogue();
  const sizes: number[] = [];
  const names: unknown[] = [];
  for (let marker: string | undefined = ''; marker !== undefined;) {
    const text = await listFunctions(catalogue, new URLSearchParams({ MaxItems: '10000', Marker: marker }));
    const page = JSON.parse(text) as Readonly<Record<string, unknown>>;
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
