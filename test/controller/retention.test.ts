/** When snapctr has unused things removed, and what it says it needs. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Retention } from '../../src/controller/retention.ts';
import { FunctionRegistry } from '../../src/registry/function-registry.ts';
import type { FunctionVersion } from '../../src/registry/function-version.ts';
import { neededNames } from '../../src/storage/uses.ts';
import { until } from '../end-to-end/processes.ts';
import { functionConfig } from '../support/scripted-guests.ts';

const cacheHome = process.env['XDG_CACHE_HOME'];
const place = mkdtempSync(join(tmpdir(), 'snapfaas-retention-'));
const apps = join(place, 'snapfaas', 'apps');

before(async () => {
  process.env['XDG_CACHE_HOME'] = place;
  await mkdir(apps, { recursive: true });
});
after(() => {
  if (cacheHome === undefined) Reflect.deleteProperty(process.env, 'XDG_CACHE_HOME');
  else process.env['XDG_CACHE_HOME'] = cacheHome;
  rmSync(place, { recursive: true });
});

function version(name: string, path: string): FunctionVersion {
  return { ...functionConfig(name), version: '$LATEST', appfs: { kind: 'image', path } };
}

test('images of versions that answer are needed, each until its last version is retired; removals go on until nothing is left', async () => {
  const registry = new FunctionRegistry();
  const calls: string[] = [];
  let left = 3;
  const retention = new Retention({
    registry,
    limits: { maxBytes: 1, maxAgeMs: 2 },
    removals: [
      (limits) => {
        calls.push(`images ${limits.maxBytes} ${limits.maxAgeMs}`);
        left -= 1;
        return Promise.resolve(left > 0);
      },
      () => {
        calls.push('layers');
        return Promise.resolve(false);
      },
    ],
    times: { everyMs: 3_600_000, afterChangeMs: 50 },
  });
  const needs = async (...names: string[]): Promise<void> => {
    const isSo = async (): Promise<boolean> => [...(await neededNames(apps))].sort().join() === names.join();
    await until(`what is needed is ${names.join()}`, isSo);
  };
  for (const name of ['one', 'two']) {
    registry.deploying(name);
    registry.publish(version(name, join(apps, 'a', 'app.ext4')));
  }
  registry.deploying('own');
  registry.publish(version('own', '/elsewhere/image.ext4'));
  await needs('a');
  registry.publish(version('one', join(apps, 'b', 'app.ext4')));
  await needs('a', 'b');
  registry.remove('two');
  await needs('b');
  await until('the looks are over', () => calls.includes('layers'));
  assert.deepEqual(calls.slice(0, 4), ['images 1 2', 'images 1 2', 'images 1 2', 'layers']);
  await retention.close();
  assert.deepEqual([...(await neededNames(apps))], []);
  const { length } = calls;
  registry.remove('one');
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.equal(calls.length, length, 'no look after the end');
});
