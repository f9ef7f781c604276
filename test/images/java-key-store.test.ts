import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeKeyStore } from '../../src/images/java-key-store.ts';
import { makeCertificate } from '../support/certificates.ts';

test('a key store holds what it was given, in order, under a digest with the usual password', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-test-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const pem = readFileSync(makeCertificate(directory, 'authority').certFile, 'latin1');
  const store = writeKeyStore([
    ['First.pem', pem],
    ['second.pem', pem],
  ]);
  const body = store.subarray(0, -20);
  const password = Buffer.from('\0c\0h\0a\0n\0g\0e\0i\0t', 'latin1');
  const digest = createHash('sha1').update(password).update('Mighty Aphrodite').update(body).digest();
  assert.deepEqual(store.subarray(-20), digest);
  let at = 0;
  const uint32 = (): number => body.readUInt32BE((at += 4) - 4);
  const text = (): string => {
    const length = body.readUInt16BE((at += 2) - 2);
    return body.toString('utf8', at, (at += length));
  };
  assert.deepEqual([uint32(), uint32(), uint32()], [0xfeedfeed, 2, 2]);
  for (const alias of ['first.pem', 'second.pem']) {
    assert.deepEqual(
      [uint32(), text(), body.readBigInt64BE((at += 8) - 8), text()],
      [2, alias, 1577836800000n, 'X.509'],
    );
    const length = uint32();
    assert.deepEqual(body.subarray(at, (at += length)), new X509Certificate(pem).raw);
  }
  assert.equal(at, body.length);
});
