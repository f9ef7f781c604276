/** Web applications behind function URLs, in virtual machines that were restored: as a browser asks, and as curl does. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { exampleWorkspace } from '../support/examples.ts';
import { assertNothingLeft, startController, type RunningController, type Workspace } from '../support/snapctr.ts';

const NAMES = ['web-hono', 'web-flask', 'web-port'];

describe('web applications behind function URLs', { timeout: 400_000 }, () => {
  let workspace: Workspace;
  let controller: RunningController;
  const urlOf = (name: string, path: string): string => `${controller.url}/url/${name}${path}`;

  before(async () => {
    workspace = exampleWorkspace(NAMES);
    controller = await startController(workspace, { vmm: 'qemu', snapshots: true });
    assert.equal((await controller.status()).snapshots.ready, NAMES.length);
  });

  after(async () => {
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  test('Hono: pages, forms, cookies and what is not there', async () => {
    const page = await fetch(urlOf('web-hono', '/'));
    assert.equal(page.status, 200);
    assert.match(page.headers.get('content-type') ?? '', /^text\/html/);
    assert.match(await page.text(), /<h1>Guest book<\/h1>/);
    const body = new URLSearchParams({ name: 'Ada', text: '<b>&' });
    const signed = await fetch(urlOf('web-hono', '/entries'), { method: 'POST', body, redirect: 'manual' });
    assert.deepEqual([signed.status, signed.headers.get('location')], [303, './']);
    assert.deepEqual(signed.headers.getSetCookie(), ['name=Ada; Path=/; HttpOnly']);
    const again = await fetch(urlOf('web-hono', '/'), { headers: { cookie: 'a=b; name=Ada' } });
    const text = await again.text();
    assert.match(text, /value="Ada"/);
    assert.match(text, /<li>Ada: &lt;b&gt;&amp;<\/li>/);
    assert.deepEqual(await (await fetch(urlOf('web-hono', '/entries'))).json(), [{ name: 'Ada', text: '<b>&' }]);
    assert.equal((await fetch(urlOf('web-hono', '/nothing?a=1'))).status, 404);
    assert.equal((await fetch(urlOf('web-hono', '/entries'), { method: 'POST', body: 'x' })).status, 400);
  });

  test('Hono: server-sent events come as they are written', async () => {
    const answer = await fetch(urlOf('web-hono', '/clock'));
    assert.equal(answer.headers.get('content-type'), 'text/event-stream');
    const times: number[] = [];
    let text = '';
    for await (const part of answer.body ?? assert.fail('no body')) {
      times.push(performance.now());
      text += Buffer.from(part as Uint8Array).toString();
    }
    assert.equal(text, 'data: 3\n\ndata: 2\n\ndata: 1\n\nevent: end\ndata: done\n\n');
    assert.ok((times.at(-1) ?? 0) - (times[0] ?? 0) >= 400);
  });

  test('an application on a port: its page, a body, and events as they are written', async () => {
    assert.match(await (await fetch(urlOf('web-port', '/'))).text(), /Answer 1 of this process/);
    const sized = await fetch(urlOf('web-port', '/length'), { method: 'POST', body: 'abc' });
    assert.deepEqual(await sized.json(), { bytes: 3 });
    const ticks = await fetch(urlOf('web-port', '/ticks'));
    assert.equal(await ticks.text(), 'data: 1\n\ndata: 2\n\ndata: 3\n\n');
    assert.equal((await fetch(urlOf('web-port', '/nothing'))).status, 404);
  });

  test('an application on a port: ten readers of its events share one VM', async () => {
    const texts = await Promise.all(
      Array.from({ length: 10 }, async () => (await fetch(urlOf('web-port', '/ticks'))).text()),
    );
    assert.deepEqual(new Set(texts), new Set(['data: 1\n\ndata: 2\n\ndata: 3\n\n']));
    assert.equal(
      Object.values((await controller.status()).vms['web-port'] ?? {}).reduce((sum, vms) => sum + vms),
      1,
    );
  });

  test('Flask: sessions, uploads and bytes', async () => {
    const first = await fetch(urlOf('web-flask', '/'));
    assert.match(await first.text(), /Visit 1/);
    const [session = ''] = first.headers.getSetCookie();
    assert.match(session, /^session=.*HttpOnly/);
    const second = await fetch(urlOf('web-flask', '/'), { headers: { cookie: session.replace(/;.*/, '') } });
    assert.match(await second.text(), /Visit 2/);
    const bytes = Uint8Array.from({ length: 1024 }, (_, at) => at & 255);
    const upload = await fetch(urlOf('web-flask', '/histogram'), { method: 'POST', body: bytes });
    const { size, counts } = (await upload.json()) as { size: number; counts: Record<string, number> };
    assert.deepEqual([size, counts['0'], counts['255']], [1024, 4, 4]);
    const square = await fetch(urlOf('web-flask', '/square/2'));
    assert.equal(square.headers.get('content-type'), 'image/x-portable-pixmap');
    const pixels = Buffer.concat([Buffer.from('P6 2 2 255\n'), Buffer.alloc(12, Buffer.from([255, 0, 128]))]);
    assert.ok(Buffer.from(await square.arrayBuffer()).equals(pixels));
    assert.equal((await fetch(urlOf('web-flask', '/square/65'))).status, 404);
    assert.equal((await fetch(urlOf('web-flask', '/nothing'))).status, 404);
  });
});
