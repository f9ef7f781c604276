/** What the live page asks for beside its stream. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Key } from '../../../src/auth/key-file.ts';
import type { Role } from '../../../src/auth/operations.ts';
import type { LiveSource } from '../../../src/controller/gateway/ui/live-stream.ts';
import type { FunctionView } from '../../../src/protocol/live-state.ts';
import { authenticator } from '../../auth/requests.ts';
import { withGateway } from './http-client.ts';

const VIEW: FunctionView = { startBucket: 7, starts: {}, phases: {}, versions: [] };
const source = {
  view: (name: string) => (name === 'shop ä' ? VIEW : null),
} as unknown as LiveSource;

function keyOf(role: Role): Key {
  const id = `SFAK${role.charAt(0).toUpperCase().repeat(16)}`;
  return { id, name: role, role, functions: ['*'], secret: `${role}-secret-`.padEnd(40, 'x'), created: '2026-01-01' };
}

test('live page: one function is told of to whoever may see all, by its encoded name', async () => {
  const keys = [keyOf('admin'), keyOf('deploy')];
  const options = { livePage: { directory: '/nonexistent', source }, access: authenticator(keys, { now: Date.now() }) };
  await withGateway(options, async (_gateway, port) => {
    const ask = async (name: string, key?: Key): Promise<readonly [number, unknown]> => {
      const headers = key === undefined ? {} : { authorization: `Bearer ${key.id}.${key.secret}` };
      const answer = await fetch(`http://127.0.0.1:${port}/ui/functions/${name}`, { headers });
      const body = (await answer.json()) as { readonly error?: { readonly code: string } };
      return [answer.status, answer.ok ? body : body.error?.code];
    };
    const [admin, deploy] = keys;
    assert.deepEqual(await ask('shop%20%C3%A4', admin), [200, VIEW]);
    assert.deepEqual(await ask('nobody', admin), [404, 'function_not_found']);
    assert.deepEqual(await ask('%zz', admin), [400, 'bad_request']);
    assert.deepEqual(await ask('shop%20%C3%A4', deploy), [403, 'forbidden']);
    assert.deepEqual(await ask('shop%20%C3%A4'), [401, 'unauthorized']);
  });
});
