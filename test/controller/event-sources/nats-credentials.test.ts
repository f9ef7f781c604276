import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readCredentials } from '../../../src/controller/event-sources/nats-credentials.ts';

const directory = mkdtempSync(join(tmpdir(), 'snapfaas-test-'));
after(() => rmSync(directory, { recursive: true }));

function file(text: string, mode = 0o600): string {
  const path = join(directory, 'credentials');
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

test('credentials of NATS: a user, a token, a key, or what nsc has made', async () => {
  const auth = async (text: string): Promise<unknown> => (await readCredentials(file(text)))('nonce');
  assert.deepEqual(await auth('user: a\npassword: "1"\n'), { user: 'a', pass: '1' });
  assert.deepEqual(await auth('{"token": "t"}'), { auth_token: 't' });
  const nkey = 'SUAPVLLEJUSIDNGHQQBQIR6Q5WJCTKL6LWMVRNYHGTYQQHRYMKMCA6GN4Q';
  await assert.rejects(auth(`nkey: ${nkey.toLowerCase()}`), /are none that are known here/);
  await assert.doesNotReject(
    readCredentials(file('-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------\n')),
  );
});

test('credentials of NATS that others could read, or that are none, are refused, and never shown', async () => {
  const refused = async (path: string, message: RegExp): Promise<void> => {
    await assert.rejects(readCredentials(path), (error: Error) => {
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /s3cret/);
      return true;
    });
  };
  await refused(file('token: s3cret', 0o640), /can be used by others \(mode 0640\); "chmod 600/);
  await refused(file('s3cret'), /put in a \.creds file of NATS, or a map with `user`/);
  await refused(file('{token: s3cret, user: x}'), /are none that are known here/);
  await refused(file('token: [s3cret'), /are none that are known here/);
  await refused(file('x'.repeat(70_000)), /over the limit of 65536/);
  await refused(join(directory, 'nothing'), /cannot be read: .*/);
  symlinkSync(file('token: s3cret'), join(directory, 'link'));
  await refused(join(directory, 'link'), /cannot be read/);
  await refused(directory, /are no regular file|belong/);
});
