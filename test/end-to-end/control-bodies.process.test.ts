/** What no SDK sends to the API that changes functions: bodies that break off or are packed, and names that lead elsewhere. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { makeZip } from '../packages/zip.ts';
import {
  assertNothingLeft,
  createWorkspace,
  startController,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';

const FUNCTIONS = '/2015-03-31/functions';
const zip = makeZip([{ name: 'main.py', data: 'def handle(e, c):\n    return "served"\n' }]);
const settings = { Role: 'arn:aws:iam::000000000000:role/any', Runtime: 'python3.11', Handler: 'main.handle' };
const create = (FunctionName: string): string =>
  JSON.stringify({ FunctionName, ...settings, Code: { ZipFile: zip.toString('base64') } });

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

describe('the API that changes functions, by hand', { timeout: 180_000 }, () => {
  let workspace: Workspace;
  let snapctr: RunningController;
  const stored = (): readonly string[] =>
    ['functions', 'layers', 'packages'].flatMap((name) => readdirSync(join(workspace.directory, 'data', name)));
  const kept = ['made.json', `${createHash('sha256').update(zip).digest('hex')}.zip`];

  before(async () => {
    workspace = createWorkspace([]);
    snapctr = await startController(workspace, {
      vmm: 'process',
      args: ['--data-dir', join(workspace.directory, 'data')],
    });
    const made = await fetch(`${snapctr.url}${FUNCTIONS}`, { method: 'POST', body: create('made') });
    assert.equal(made.status, 201, await made.text());
    await snapctr.until(({ deploying }) => deploying === 0, 60_000);
    await nothingLeft();
  });
  after(async () => {
    await snapctr.stop();
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  const open = async (bytes: string): Promise<Socket> => {
    const { hostname, port } = new URL(snapctr.url);
    const socket = connect(Number(port), hostname);
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    socket.write(bytes);
    return socket;
  };
  /** The first answer to these bytes. */
  const answerTo = async (bytes: string): Promise<Answer> => {
    const socket = await open(bytes);
    let text = '';
    for await (const chunk of socket) {
      text += String(chunk);
      const [head = '', body = ''] = text.split('\r\n\r\n', 2);
      const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? NaN);
      if (body.length >= length) break;
    }
    socket.destroy();
    const type = /^x-amzn-errortype: ([^\r]+)/im.exec(text)?.[1] ?? '';
    return { status: Number(text.split(' ', 2)[1]), type, text };
  };
  const nothingLeft = async (): Promise<void> => {
    for (const deadline = Date.now() + 20_000; ; await sleep(20)) {
      try {
        return assert.deepEqual(stored(), kept);
      } catch (error) {
        if (Date.now() > deadline) throw error;
      }
    }
  };

  test('a body that breaks off anywhere leaves nothing, however its length was told', async () => {
    const body = create('cut');
    for (const share of [0.1, 0.5, 0.99]) {
      const part = body.slice(0, Math.floor(body.length * share));
      const told = await open(
        `POST ${FUNCTIONS} HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}\r\n\r\n${part}`,
      );
      const untold = await open(
        `POST ${FUNCTIONS} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n${part.length.toString(16)}\r\n${part}\r\n`,
      );
      await snapctr.status();
      told.destroy();
      untold.resetAndDestroy();
    }
    await nothingLeft();
    assert.equal((await fetch(`${snapctr.url}${FUNCTIONS}/cut/configuration`)).status, 404);
  });

  test('a body in parts without end is refused at the limit, and nothing of it is kept', async () => {
    const socket = await open(
      `PUT ${FUNCTIONS}/made/code HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\ne\r\n{"ZipFile":"AA\r\n`,
    );
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    const part = Buffer.from(`100000\r\n${'A'.repeat(0x100000)}\r\n`);
    for (let sent = 0; sent < 120 && text === '' && !socket.destroyed; sent += 1) {
      await Promise.race([new Promise((resolve) => socket.write(part, resolve)), sleep(2000)]);
    }
    for (let waited = 0; waited < 100 && text === ''; waited += 1) await sleep(50);
    socket.destroy();
    assert.match(text, /^HTTP\/1\.1 413 [^]*RequestEntityTooLargeException/);
    await nothingLeft();
  });

  test('a body that comes a byte at a time is refused after the time of a request, and nothing of it is kept', async () => {
    const body = create('slow');
    const update = JSON.stringify({ ZipFile: zip.toString('base64') });
    const head = (method: string, path: string, ...headers: readonly string[]): string =>
      `${[`${method} ${FUNCTIONS}${path} HTTP/1.1`, 'host: localhost', ...headers].join('\r\n')}\r\n\r\n`;
    const lengthOf = (text: string): string => `content-length: ${text.length}`;
    // One that is within the file, one whose end nobody knows, and one that has hardly begun.
    const slow = [
      [head('PUT', '/made/code', lengthOf(update)) + update.slice(0, 60), update.slice(60), (byte: string) => byte],
      [head('POST', '', 'transfer-encoding: chunked'), body, (byte: string) => `1\r\n${byte}\r\n`],
      [head('POST', '', lengthOf(body)), body, (byte: string) => byte],
    ] as const;
    const configuration = async (name: string): Promise<string> =>
      (await fetch(`${snapctr.url}${FUNCTIONS}/${name}/configuration`)).text();
    let before = await configuration('made');
    for (const deadline = Date.now() + 60_000; !before.includes('"State":"Active"'); await sleep(50)) {
      assert.ok(Date.now() < deadline, before);
      before = await configuration('made');
    }
    const answers = await Promise.all(
      slow.map(async ([begin, rest, part]) => {
        const socket = await open(begin);
        let text = '';
        socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
        const closed = once(socket, 'close');
        const begun = performance.now();
        for (const byte of rest) {
          socket.write(part(byte));
          if ((await Promise.race([closed, sleep(500)])) !== undefined || performance.now() - begun > 60_000) break;
        }
        socket.destroy();
        return [text, performance.now() - begun] as const;
      }),
    );
    for (const [text, tookMs] of answers) {
      assert.match(
        text,
        /^HTTP\/1\.1 400 [^]*x-amzn-errortype: \w+[^]*was not complete within 30000 ms; send it faster/i,
      );
      assert.ok(tookMs > 29_000 && tookMs < 60_000, String(tookMs));
    }
    await nothingLeft();
    assert.equal(await configuration('made'), before);
    assert.match(await configuration('slow'), /Function not found/);
    assert.equal((await snapctr.invoke('made', {})).body, 'served');
  });

  test('a packed body is refused with what to do', async () => {
    const body = gzipSync(create('packed'));
    const answer = await fetch(`${snapctr.url}${FUNCTIONS}`, {
      method: 'POST',
      headers: { 'content-encoding': 'gzip' },
      body,
    });
    assert.match(await answer.text(), /gzip|compress|json/i);
    assert.ok([400, 415].includes(answer.status), String(answer.status));
    await nothingLeft();
  });

  for (const name of ['..', '%2e%2e', '..%2f..%2fregistry', '%252e%252e', 'made%00', 'made%2f', 'made%2f..', '%ff']) {
    test(`a name that leads elsewhere is refused, whatever is to be done with it: ${name}`, async () => {
      for (const [method, path] of [
        ['GET', ''],
        ['GET', '/configuration'],
        ['PUT', '/code'],
        ['DELETE', ''],
      ] as const) {
        const body = method === 'PUT' ? JSON.stringify({ ZipFile: zip.toString('base64') }) : '';
        const { status, type, text } = await answerTo(
          `${method} ${FUNCTIONS}/${name}${path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
        );
        assert.ok(status >= 400 && status < 500, `${method} ${path}: ${text.slice(0, 200)}`);
        assert.notEqual(type, '', text.slice(0, 200));
      }
      await nothingLeft();
      assert.equal((await snapctr.invoke('made', {})).body, 'served');
    });
  }
});
