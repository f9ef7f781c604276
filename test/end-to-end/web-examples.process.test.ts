/** Applications of frameworks that listen on a port, as plain processes: under software emulation their imports take too long for a test. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { EXAMPLES, exampleWorkspace } from '../support/examples.ts';
import { assertNothingLeft, startController, type RunningController, type Workspace } from '../support/snapctr.ts';

const NAMES = ['web-express', 'web-fastapi'];

function posted(body: unknown): RequestInit {
  return { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
}

describe('web applications on a port', { timeout: 400_000 }, () => {
  let workspace: Workspace;
  let controller: RunningController;
  const urlOf = (name: string, path: string): string => `${controller.url}/url/${name}${path}`;

  before(async () => {
    workspace = exampleWorkspace(NAMES);
    controller = await startController(workspace, { vmm: 'process' });
  });

  after(async () => {
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  test('Express: a form, JSON both ways, and what is not there', async () => {
    const made = await fetch(urlOf('web-express', '/tasks'), posted({ title: '<b>' }));
    assert.deepEqual([made.status, made.headers.get('location')], [201, 'tasks/1']);
    assert.deepEqual(await made.json(), { id: 1, title: '<b>' });
    const body = new URLSearchParams({ title: 'more' });
    const sent = await fetch(urlOf('web-express', '/tasks'), { method: 'POST', body, redirect: 'manual' });
    assert.deepEqual([sent.status, sent.headers.get('location')], [303, './']);
    assert.match(await (await fetch(urlOf('web-express', '/'))).text(), /<li>&#60;b&#62;<\/li><li>more<\/li>/);
    assert.deepEqual(await (await fetch(urlOf('web-express', '/tasks/2'))).json(), { id: 2, title: 'more' });
    assert.equal((await fetch(urlOf('web-express', '/tasks/3'))).status, 404);
    assert.equal((await fetch(urlOf('web-express', '/tasks'), posted({}))).status, 400);
  });

  test('FastAPI: bodies that are checked, and events as they are written', async () => {
    const summary = (numbers: readonly unknown[]): Promise<Response> =>
      fetch(urlOf('web-fastapi', '/summary'), posted({ numbers }));
    assert.deepEqual(await (await summary([1, 2, 6])).json(), { count: 3, mean: 3, median: 2, largest: 6 });
    assert.equal((await summary(['one'])).status, 422);
    const counted = await fetch(urlOf('web-fastapi', '/countdown/2'));
    assert.match(counted.headers.get('content-type') ?? '', /^text\/event-stream/);
    assert.equal(await counted.text(), 'data: 2\n\ndata: 1\n\ndata: 0\n\n');
    assert.equal((await fetch(urlOf('web-fastapi', '/countdown/99'))).status, 404);
    assert.match(await (await fetch(urlOf('web-fastapi', '/openapi.json'))).text(), /"title":"Numbers"/);
  });

  for (const name of NAMES) {
    test(`${name}: its event is the request of its README`, async () => {
      const body = readFileSync(join(EXAMPLES, name, 'event.json'));
      const path = `/2015-03-31/functions/${name}/invocations`;
      const answer = await fetch(`${controller.url}${path}`, { method: 'POST', body });
      const { statusCode } = (await answer.json()) as { statusCode: number };
      assert.equal(statusCode, name === 'web-express' ? 201 : 200);
    });
  }
});
