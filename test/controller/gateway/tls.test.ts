import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { connect as connectTls, TLSSocket } from 'node:tls';
import { Certificate, CertificateError } from '../../../src/controller/gateway/certificate.ts';
import { makeCertificate, type CertificateFiles } from '../../support/certificates.ts';
import { MIB, withGateway } from './http-client.ts';

function filesFor(t: TestContext): {
  readonly directory: string;
  readonly first: CertificateFiles;
  readonly second: CertificateFiles;
} {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-tls-test-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return { directory, first: makeCertificate(directory, 'first'), second: makeCertificate(directory, 'second') };
}

function certificateOf(files: CertificateFiles, told: string[] = []): Certificate {
  const onReload = (): void => void told.push('reloaded');
  return new Certificate({ ...files, onReload, onProblem: (problem) => told.push(problem), recheckMs: 0 });
}

async function ask(port: number, body: string | Buffer): Promise<{ status: number; text: string; name: string }> {
  const options = { port, host: '127.0.0.1', method: 'POST', path: '/', rejectUnauthorized: false, agent: false };
  const outgoing = request({ ...options, headers: { 'content-type': 'application/json' } });
  outgoing.end(body);
  const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
  const peer = incoming.socket instanceof TLSSocket ? incoming.socket.getPeerCertificate() : null;
  let text = '';
  for await (const part of incoming.setEncoding('utf8')) text += String(part);
  return { status: incoming.statusCode ?? 0, text, name: String(peer?.subject.CN) };
}

test('tls: requests, small and large, and the certificate that took the place of another', async (t) => {
  const { first, second } = filesFor(t);
  const told: string[] = [];
  await withGateway({ certificate: certificateOf(first, told) }, async (gateway, port) => {
    assert.equal(gateway.scheme, 'https');
    assert.deepEqual(await ask(port, '{"function":"f","payload":1}'), { status: 200, text: '1', name: 'first' });
    const large = `"${'x'.repeat(5 * MIB)}"`;
    assert.equal((await ask(port, `{"function":"f","payload":${large}}`)).text, large);
    assert.equal((await ask(port, `{"function":"f","payload":"${'x'.repeat(7 * MIB)}"}`)).status, 413);
    // Half of the new pair: the old one stays.
    copyFileSync(second.certFile, first.certFile);
    assert.equal((await ask(port, '{"function":"f","payload":1}')).name, 'first');
    assert.equal((await ask(port, '{"function":"f","payload":1}')).name, 'first');
    assert.match(told[0] ?? '', /no certificate and its key.*until then the old pair is used/);
    assert.equal(told.length, 1);
    copyFileSync(second.keyFile, first.keyFile);
    assert.equal((await ask(port, '{"function":"f","payload":1}')).name, 'second');
    assert.deepEqual(told.slice(1), ['reloaded']);
    rmSync(first.keyFile);
    assert.equal((await ask(port, '{"function":"f","payload":1}')).name, 'second');
    assert.match(told[2] ?? '', /key .* cannot be read/);
  });
});

test('tls: who does not finish a handshake, or speaks without TLS, is cut off, and counts as a connection until then', async (t) => {
  const { first } = filesFor(t);
  await withGateway({ certificate: certificateOf(first), requestTimeoutMs: 500 }, async (gateway, port) => {
    const silent = connect(port, '127.0.0.1');
    const plain = connect(port, '127.0.0.1');
    for (const socket of [silent, plain]) socket.on('error', () => undefined).resume();
    await Promise.all([once(silent, 'connect'), once(plain, 'connect')]);
    plain.write('GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n');
    await Promise.all([once(plain, 'close'), once(silent, 'close')]);
    assert.equal(gateway.budget.takenBytes, 0);
    const slow = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false });
    await once(slow, 'secureConnect');
    slow.write('POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n{');
    let text = '';
    slow.setEncoding('utf8').on('data', (part: string) => (text += part));
    await once(slow, 'close');
    assert.match(text, /^HTTP\/1\.1 400 .*not complete within 500 ms/s);
  });
});

test('tls: a gateway that closes does not wait for handshakes', async (t) => {
  const { first } = filesFor(t);
  const closed: Promise<unknown>[] = [];
  await withGateway({ certificate: certificateOf(first) }, async (_, port) => {
    const silent = connect(port, '127.0.0.1').on('error', () => undefined);
    closed.push(once(silent.resume(), 'close'));
    await once(silent, 'connect');
    await ask(port, '{"function":"f","payload":1}');
  });
  await Promise.all(closed);
});

test('tls: a pair that is none is refused at the start', (t) => {
  const { directory, first, second } = filesFor(t);
  const text = join(directory, 'text');
  writeFileSync(text, 'no PEM');
  for (const [files, message] of [
    [{ certFile: first.certFile, keyFile: second.keyFile }, /no certificate and its key in PEM/],
    [{ certFile: text, keyFile: first.keyFile }, /correct --tls-cert and --tls-key/],
    [{ certFile: first.certFile, keyFile: join(directory, 'none') }, /the TLS key .*none cannot be read/],
    [{ certFile: directory, keyFile: first.keyFile }, /the TLS certificate .* cannot be read/],
  ] as const) {
    assert.throws(
      () => certificateOf(files),
      (error) => error instanceof CertificateError && message.test(error.message),
    );
  }
});
