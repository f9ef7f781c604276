/**
 * Applications that only listen on a port, behind function URLs: as their clients see them. The same over each driver
 * (`web-ports.*.test.ts`).
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { noCompiler } from '../support/bootstrap.ts';
import {
  assertNothingLeft,
  createWorkspace,
  startController,
  type RunningController,
  type TestFunction,
  type TestVmm,
  type Workspace,
} from '../support/snapctr.ts';

const NODE = `
const crypto = require('node:crypto');
const http = require('node:http');
let count = 0;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const server = http.createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const body = Buffer.concat(parts);
  switch (request.url) {
    case '/die':
      process.exit(3);
    case '/hang':
      return;
    case '/nonsense':
      return request.socket.end('nonsense\\r\\n\\r\\n');
    case '/sized':
      return response.setHeader('content-length', '5').end('12345');
    case '/echo':
      return response.setHeader('content-type', 'application/octet-stream').end(body);
    case '/stream':
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (let at = 0; at < 3; at += 1) {
        response.write('data: ' + at + '\\n\\n');
        await sleep(200);
      }
      return response.end();
    case '/random':
      return response.end(JSON.stringify([crypto.randomUUID(), crypto.randomBytes(16).toString('hex'), Math.random(), crypto.randomInt(2 ** 40)]));
    default:
      response.writeHead(201, { 'content-type': 'application/json', 'set-cookie': ['a=1', 'b=2'] });
      response.end(JSON.stringify({ method: request.method, url: request.url, cookie: request.headers.cookie, count: (count += 1) }));
  }
});
server.listen(process.env.PORT);
`;

const PYTHON = `
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header('content-type', 'text/plain')
        self.end_headers()
        self.wfile.write(('python ' + self.path).encode())

http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), Handler).serve_forever()
`;

const SNAPSHOT_PATIENCE_MS = 400_000;
const TIMEOUT_S: Readonly<Record<TestVmm, number>> = {
  ...{ process: 3, 'fake-firecracker': 3, firecracker: 6, qemu: 8 },
};

/** Where each snapshot takes long, two of them. */
function functions(vmm: TestVmm): readonly TestFunction[] {
  const keys = { web: '{port: 3000}', url: '{auth: none}', timeout: TIMEOUT_S[vmm] };
  const all: readonly TestFunction[] = [
    { name: 'node', runtime: 'nodejs', files: { 'server.js': NODE }, keys },
    {
      name: 'buffered',
      runtime: 'nodejs',
      files: { 'main.js': NODE },
      keys: { ...keys, url: '{auth: none, invoke_mode: buffered}', handler: 'main.js' },
    },
    { name: 'python', runtime: 'python3', files: { 'app.py': PYTHON }, keys },
    {
      name: 'line',
      runtime: 'python3',
      files: { 'main.py': PYTHON },
      keys: { ...keys, handler: 'exec python3 main.py' },
    },
    {
      name: 'ends',
      runtime: 'nodejs',
      files: { 'server.js': "throw new Error('as asked');" },
      keys,
    },
  ];
  return vmm === 'qemu' ? all.filter(({ name }) => name === 'node' || name === 'python') : all;
}

export function webPorts(vmm: TestVmm, start: 'cold' | 'restored'): void {
  describe(`applications on a port: ${vmm}, ${start}`, { skip: noCompiler, timeout: 600_000 }, () => {
    const buffered = vmm === 'qemu' ? 'node' : 'buffered';
    let workspace: Workspace;
    let controller: RunningController;
    const ask = (name: string, path: string, init: RequestInit = {}): Promise<Response> =>
      fetch(`${controller.url}/url/${name}${path}`, init);
    /** With the headers as they came: `fetch` hides some. */
    const asked = async (
      name: string,
      path: string,
      method: string,
    ): Promise<{ headers: IncomingHttpHeaders; body: string }> => {
      const sent = request(`${controller.url}/url/${name}${path}`, { method });
      const [answer] = (await once(sent.end(), 'response')) as [IncomingMessage];
      let body = '';
      for await (const part of answer) body += String(part);
      return { headers: answer.headers, body };
    };

    before(async () => {
      const all = functions(vmm);
      workspace = createWorkspace(all);
      controller = await startController(workspace, { vmm, snapshots: start === 'restored' ? 'being made' : false });
      if (start === 'restored')
        await controller.until(({ snapshots }) => snapshots.ready === all.length, SNAPSHOT_PATIENCE_MS);
    });

    after(async () => {
      assert.equal(await controller.stop(), 0);
      await assertNothingLeft(workspace);
      workspace.remove();
    });

    test('a request comes with all that its client said, and goes back as it was answered', async () => {
      for (const [name, count] of [
        ['node', 1],
        [buffered, vmm === 'qemu' ? 2 : 1],
        ['node', vmm === 'qemu' ? 3 : 2],
      ] as const) {
        const answer = await ask(name, '/a/b%20c?q=1&q=2', {
          method: 'PUT',
          body: 'x',
          headers: { cookie: 'k=v; l=w' },
        });
        assert.equal(answer.status, 201, await answer.clone().text());
        assert.deepEqual(answer.headers.getSetCookie(), ['a=1', 'b=2']);
        assert.deepEqual(await answer.json(), { method: 'PUT', url: '/a/b%20c?q=1&q=2', cookie: 'k=v; l=w', count });
      }
    });

    test('bytes of megabytes, and answers without a body', async () => {
      const body = Buffer.alloc(vmm === 'qemu' ? 1 << 20 : 4 << 20, 'äb\u0000');
      for (const name of new Set(['node', buffered])) {
        const answer = await ask(name, '/echo', { method: 'POST', body });
        assert.equal(answer.status, 200);
        assert.ok(Buffer.from(await answer.arrayBuffer()).equals(body));
        const head = await ask(name, '/', { method: 'HEAD' });
        assert.deepEqual([head.status, await head.text()], [201, '']);
      }
    });

    test('what an application did not say is not added, and the length that it says is told', async () => {
      for (const name of new Set(['node', buffered])) {
        for (const [method, body] of [
          ['GET', '12345'],
          ['HEAD', ''],
        ] as const) {
          const { headers, ...answer } = await asked(name, '/sized', method);
          assert.deepEqual([headers['content-length'], headers['content-type']], ['5', undefined], `${name} ${method}`);
          assert.deepEqual([headers['transfer-encoding'], answer.body], [undefined, body]);
        }
      }
    });

    test('server-sent events come as they are written', async () => {
      const answer = await ask('node', '/stream');
      assert.equal(answer.headers.get('content-type'), 'text/event-stream');
      const times: number[] = [];
      let text = '';
      for await (const part of answer.body ?? assert.fail('no body')) {
        times.push(performance.now());
        text += Buffer.from(part as Uint8Array).toString();
      }
      assert.equal(text, 'data: 0\n\ndata: 1\n\ndata: 2\n\n');
      assert.ok((times.at(-1) ?? 0) - (times[0] ?? 0) >= 200);
    });

    test('a Python program, and a line for the shell', async () => {
      assert.equal(await (await ask('python', '/x')).text(), 'python /x');
      if (vmm !== 'qemu') assert.equal(await (await ask('line', '/y?z')).text(), 'python /y?z');
    });

    test('random numbers are others in each VM', async () => {
      const seen: unknown[] = [];
      for (let n = 0; n < 3; n += 1) {
        seen.push(...((await (await ask('node', '/random')).json()) as unknown[]));
        assert.equal((await ask('node', '/die')).status, 502);
      }
      assert.equal(new Set(seen).size, seen.length, JSON.stringify(seen));
    });

    test('one that dies, answers nonsense or not at all, and the next request is answered', async () => {
      for (const [path, status] of [
        ['/nonsense', 502],
        ['/die', 502],
        ['/hang', 504],
      ] as const) {
        assert.equal((await ask(buffered, path)).status, status, path);
        assert.equal((await ask(buffered, '/')).status, 201);
      }
    });

    test('one that never listens is the function’s error', { skip: vmm === 'qemu' }, async () => {
      assert.equal((await ask('ends', '/')).status, 502);
      const { status, text } = await controller.invoke('ends', {});
      assert.equal(status, 502);
      assert.match(text, /Runtime\.ExitError/);
    });
  });
}
