/** Each web application of `examples/` in a real browser, at the address that its function URL tells: pages, forms, cookies, events. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { after, before, beforeEach, describe, test } from 'node:test';
import { GetFunctionUrlConfigCommand } from '@aws-sdk/client-lambda';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';
import { noCompiler } from '../support/bootstrap.ts';
import { EXAMPLES, exampleWorkspace } from '../support/examples.ts';
import { lambdaClient } from '../support/lambda-client.ts';
import { CHROMIUM, whyWithout } from '../support/needed-program.ts';
import { assertNothingLeft, startController, type RunningController, type Workspace } from '../support/snapctr.ts';

const NAMES = ['web-express', 'web-fastapi', 'web-flask', 'web-hono', 'web-port'];
const skip = whyWithout(CHROMIUM, 'chromium') || noCompiler;

describe('web examples in a browser', { timeout: 500_000, skip }, () => {
  let workspace: Workspace;
  let controller: RunningController;
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  const urls = new Map<string, string>();
  const urlOf = (name: string): string => urls.get(name) ?? assert.fail(name);

  before(async () => {
    workspace = exampleWorkspace(NAMES);
    controller = await startController(workspace, { vmm: 'process', memoryMib: 2048 });
    const client = lambdaClient(controller.url);
    for (const FunctionName of NAMES) {
      const { FunctionUrl = '' } = await client.send(new GetFunctionUrlConfigCommand({ FunctionName }));
      urls.set(FunctionName, FunctionUrl);
    }
    client.destroy();
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
  });

  beforeEach(async () => {
    context = await browser.newContext();
    // Pages are to be whole with what this machine has.
    await context.route('**', (route, request) =>
      new URL(request.url()).hostname.endsWith('localhost') ? route.continue() : route.abort(),
    );
    page = await context.newPage();
  });

  after(async () => {
    await browser.close();
    assert.equal(await controller.stop(), 0);
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  /** Runs in the page. @param script an expression, as text: the types of a browser are none of this project's. */
  const inPage = (script: string): Promise<unknown> => page.evaluate(script);

  /** What an EventSource of the page gets until its server ends the stream, with the time of each in ms. */
  const eventsOf = (path: string): Promise<readonly { readonly data: string; readonly ms: number }[]> =>
    inPage(`new Promise((resolve) => {
      const got = [];
      const source = new EventSource(${JSON.stringify(path)});
      source.onmessage = ({ data }) => got.push({ data, ms: performance.now() });
      source.onerror = () => (source.close(), resolve(got));
    })`) as Promise<readonly { readonly data: string; readonly ms: number }[]>;

  test('they are all that there are', () => {
    const all = readdirSync(EXAMPLES).filter((name) => name.startsWith('web-'));
    assert.deepEqual(all.sort(), NAMES);
  });

  test('Express: a form that leads back to its page, whose list is longer then', async () => {
    assert.equal((await page.goto(urlOf('web-express')))?.status(), 200);
    for (const title of ['<b>first</b>', 'second']) {
      await page.fill('input[name=title]', title);
      await page.click('button');
      await page.waitForFunction(`document.querySelector('li:last-child')?.textContent === ${JSON.stringify(title)}`);
      assert.equal(page.url(), urlOf('web-express'));
    }
    assert.equal(await page.locator('li').count(), 2);
    const task = await inPage(`fetch('tasks/2').then((answer) => answer.json())`);
    assert.deepEqual(task, { id: 2, title: 'second' });
  });

  test('Hono: a form that sets a cookie, and a clock by server-sent events', async () => {
    await page.goto(urlOf('web-hono'));
    await page.waitForFunction(`document.getElementById('clock').textContent === '1'`);
    // The list is in a VM: while its stream has that one, a post gets another VM, with a list of its own.
    await controller.until(({ vms }) => vms['web-hono']?.busy === undefined, 30_000);
    await page.fill('input[name=name]', 'Ada');
    await page.fill('input[name=text]', '<i>&');
    await page.click('button');
    await page.waitForSelector('li');
    assert.equal(page.url(), urlOf('web-hono'));
    assert.equal(await page.textContent('li'), 'Ada: <i>&');
    assert.equal(await page.inputValue('input[name=name]'), 'Ada');
    const [cookie] = await context.cookies();
    assert.deepEqual([cookie?.name, cookie?.value, cookie?.httpOnly], ['name', 'Ada', true]);
    assert.equal(await inPage('document.cookie'), '');
  });

  test('Flask: a session in a cookie, an upload and bytes', async () => {
    for (const visit of [1, 2, 3]) {
      await page.goto(urlOf('web-flask'));
      assert.equal(await page.textContent('p'), `Visit ${visit}`);
    }
    const told = await inPage(`(async () => {
      const upload = await fetch('histogram', { method: 'POST', body: new Uint8Array([0, 255, 255]) });
      const square = await fetch('square/2');
      return [await upload.json(), square.headers.get('content-type'), [...new Uint8Array(await square.arrayBuffer())].slice(-3)];
    })()`);
    assert.deepEqual(told, [{ size: 3, counts: { 0: 1, 255: 2 } }, 'image/x-portable-pixmap', [255, 0, 128]]);
  });

  test('FastAPI: JSON that is checked, and a countdown as it is counted', async () => {
    await page.goto(urlOf('web-fastapi'));
    const told = await inPage(`(async () => {
      const headers = { 'content-type': 'application/json' };
      const send = (numbers) => fetch('summary', { method: 'POST', headers, body: JSON.stringify({ numbers }) });
      return [(await send(['one'])).status, await (await send([1, 2, 6])).json()];
    })()`);
    assert.deepEqual(told, [422, { count: 3, mean: 3, median: 2, largest: 6 }]);
    const events = await eventsOf('countdown/3');
    assert.deepEqual(
      events.map(({ data }) => data),
      ['3', '2', '1', '0'],
    );
    assert.ok((events.at(-1)?.ms ?? 0) - (events[0]?.ms ?? 0) >= 300);
  });

  test('an application on a port: its page, and events as they are written', async () => {
    await page.goto(urlOf('web-port'));
    assert.match((await page.textContent('p')) ?? '', /^Answer \d+ of this process\.$/);
    await page.waitForFunction(`document.getElementById('ticks').textContent === '1 2 3 '`);
    const events = await eventsOf('ticks');
    assert.ok((events.at(-1)?.ms ?? 0) - (events[0]?.ms ?? 0) >= 300);
    assert.deepEqual(await inPage(`fetch('length', { method: 'POST', body: 'abc' }).then((one) => one.json())`), {
      bytes: 3,
    });
  });
});
