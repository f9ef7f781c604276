/** `snapctr --tls-cert … --tls-key …`: a pair that is replaced is taken while the program runs. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { join } from 'node:path';
import { test } from 'node:test';
import { TLSSocket } from 'node:tls';
import { makeCertificate } from '../support/certificates.ts';
import { source } from '../support/functions.ts';
import { startProgram } from '../support/program.ts';
import { assertNothingLeft, createWorkspace, run, SNAPCTR } from '../support/snapctr.ts';
import { until } from './processes.ts';

/** The status of an answer over a connection of its own, and who showed a certificate. */
async function ask(url: string): Promise<readonly [status: number | undefined, name: string]> {
  const outgoing = request(url, { rejectUnauthorized: false, agent: false }).end();
  const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
  const name = incoming.socket instanceof TLSSocket ? incoming.socket.getPeerCertificate().subject.CN : undefined;
  await once(incoming.resume(), 'end');
  return [incoming.statusCode, String(name)];
}

test('a replaced pair of certificate and key is taken without a restart', { timeout: 120_000 }, async () => {
  const workspace = createWorkspace([source('echo', 'nodejs', 'exports.handle = (event) => event;\n')]);
  const used = makeCertificate(workspace.directory, 'first');
  const second = makeCertificate(workspace.directory, 'second');
  const files = ['--tls-cert', used.certFile, '--tls-key', used.keyFile];
  const usual = ['--config', workspace.config, '--mem', '256', '--vmm', 'process', '--port', '0'];
  const program = startProgram(SNAPCTR, [...usual, ...files], { workspace });
  try {
    await until('it listens', () => /^listening on https:\/\/127\.0\.0\.1:\d+$/m.test(program.stderr), 30_000);
    const url = /^listening on (.*)$/m.exec(program.stderr)?.[1] ?? '';
    assert.deepEqual(await ask(`${url}/healthz`), [200, 'first']);
    // Half of the new pair does not fit, and changes nothing.
    copyFileSync(second.certFile, used.certFile);
    await until('it is told', async () => {
      assert.deepEqual(await ask(`${url}/healthz`), [200, 'first']);
      return program.stderr.includes('until then the old pair is used');
    });
    copyFileSync(second.keyFile, used.keyFile);
    await until('the new pair is taken', async () => (await ask(`${url}/healthz`))[1] === 'second');
    // The commands know it as any client does that is told of it.
    const env = { NODE_EXTRA_CA_CERTS: second.certFile };
    const list = startProgram(SNAPCTR, ['list', '--endpoint', url, '--json'], { workspace, env });
    const { status, stdout, stderr } = await list.finished;
    assert.equal(status, 0, stderr);
    assert.equal((JSON.parse(stdout) as readonly { FunctionName: string }[])[0]?.FunctionName, 'echo');
  } finally {
    program.kill('SIGTERM');
    assert.equal((await program.finished).status, 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  }
});

test('a pair that is none is refused at the start, with what to correct', async () => {
  const workspace = createWorkspace([]);
  try {
    const { certFile } = makeCertificate(workspace.directory, 'first');
    const keyFile = join(workspace.directory, 'none.key');
    writeFileSync(keyFile, 'no PEM');
    const usual = ['--config', workspace.config, '--mem', '256', '--vmm', 'process', '--port', '0'];
    const { status, stderr } = await run(SNAPCTR, [...usual, '--tls-cert', certFile, '--tls-key', keyFile], {
      workspace,
    });
    assert.notEqual(status, 0);
    assert.match(stderr, /^snapctr: .*correct --tls-cert and --tls-key/m);
  } finally {
    workspace.remove();
  }
});
