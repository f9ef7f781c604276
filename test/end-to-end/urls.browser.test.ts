/** Function URLs in a real browser: what its pages may, what the gateway keeps from them, and events as they come. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { GetFunctionUrlConfigCommand } from '@aws-sdk/client-lambda';
import { chromium, type Browser, type Page } from 'playwright-core';
import { lambdaClient } from '../support/lambda-client.ts';
import { CHROMIUM, whyWithout } from '../support/needed-program.ts';
import {
  assertNothingLeft,
  createWorkspace,
  startController,
  type RunningController,
  type TestFunction,
  type Workspace,
} from '../support/snapctr.ts';
import { urlFunctions } from '../support/url-functions.ts';

const skip = whyWithout(CHROMIUM, 'chromium');

const API = `
exports.handler = async (event) => ({
  statusCode: 200,
  headers: { 'content-type': event.rawPath === '/' ? 'text/html' : 'application/json', 'x-seen': 'yes', 'x-hidden': 'yes' },
  body: event.rawPath === '/' ? '<!doctype html><title>page</title>' : JSON.stringify(event.headers['x-sent'] ?? null),
});
`;

function apiFunction(name: string, url: string): TestFunction {
  return { name, runtime: 'nodejs', files: { 'index.js': API }, keys: { handler: 'index.handler', url } };
}

const CORS =
  '{allow_origins: ["http://*.localhost:*"], allow_methods: [PUT], allow_headers: [x-sent], expose_headers: [x-seen]}';

describe('function URLs in a browser', { timeout: 240_000, skip }, () => {
  let workspace: Workspace;
  let controller: RunningController;
  let browser: Browser;
  let page: Page;
  const urls = new Map<string, string>();
  const urlOf = (name: string): string => urls.get(name) ?? assert.fail(name);

  before(async () => {
    const own = [apiFunction('page', '{auth: none}'), apiFunction('api', `{auth: none, cors: ${CORS}}`)];
    workspace = createWorkspace([...own, ...urlFunctions()]);
    controller = await startController(workspace, { vmm: 'process', memoryMib: 1024 });
    const client = lambdaClient(controller.url);
    for (const FunctionName of ['page', 'api', 'node-stream', 'node-url']) {
      const { FunctionUrl = '' } = await client.send(new GetFunctionUrlConfigCommand({ FunctionName }));
      urls.set(FunctionName, FunctionUrl);
    }
    client.destroy();
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
    page = await browser.newPage();
  });

  after(async () => {
    await browser.close();
    await controller.stop();
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  /** Runs in the page. @param script an expression, as text: the types of a browser are none of this project's. */
  const inPage = (script: string): Promise<unknown> => page.evaluate(script);

  /** What a page gets from there: the text, or that the browser let it have none. */
  const fetchFrom = (target: string, init: RequestInit = {}): Promise<unknown> =>
    inPage(`fetch(${JSON.stringify(target)}, ${JSON.stringify(init)}).then(
      async (answer) => [answer.status, await answer.text(), answer.headers.get('x-seen'), answer.headers.get('x-hidden')].join(' '),
      () => 'blocked',
    )`);

  test('a page has an origin of its own, by the host that its URL tells', async () => {
    assert.equal((await page.goto(urlOf('page')))?.status(), 200);
    assert.equal(await inPage('location.origin + "/"'), urlOf('page'));
    assert.equal(await inPage('localStorage.length'), 0);
    assert.equal(await fetchFrom(`${urlOf('page')}own`), '200 null yes yes');
  });

  test('a page may use other functions as their CORS says, with preflights', async () => {
    await page.goto(urlOf('page'));
    const sent = { method: 'PUT', headers: { 'x-sent': 'a' } };
    assert.equal(await fetchFrom(`${urlOf('api')}x`, sent), '200 "a" yes ');
    assert.equal(await fetchFrom(`${urlOf('api')}x`, { method: 'DELETE' }), 'blocked');
    assert.equal(await fetchFrom(`${urlOf('api')}x`, { method: 'PUT', headers: { 'x-other': 'a' } }), 'blocked');
    assert.equal(await fetchFrom(`${urlOf('node-url')}x`), 'blocked', 'without CORS');
  });

  test('a page may not use the gateway, neither by the host of its URL nor by the path', async () => {
    const pages = [
      urlOf('page'),
      `${controller.url}/url/page/`,
      `${controller.url.replace('127.0.0.1', 'localhost')}/url/page/`,
    ];
    for (const at of pages) {
      assert.equal((await page.goto(at))?.status(), 200);
      const base = at.includes('lambda-url') ? controller.url : new URL(at).origin;
      assert.equal(await fetchFrom(`${base}/status`), 'blocked', at);
      assert.equal(await fetchFrom(`${base}/2015-03-31/functions`), 'blocked', at);
      const invoke = { method: 'POST', body: '{"function":"page","payload":{}}' };
      assert.equal(await fetchFrom(`${base}/`, invoke), 'blocked', at);
      const embedded = await inPage(`new Promise((resolve) => {
        const script = document.createElement('script');
        script.src = ${JSON.stringify(`${base}/status`)};
        script.onload = () => resolve('loaded');
        script.onerror = () => resolve('blocked');
        document.head.append(script);
      })`);
      assert.equal(embedded, 'blocked', at);
    }
    assert.equal(await inPage('self.origin'), 'null');
    await assert.rejects(inPage('localStorage.length'), /SecurityError/);
  });

  test('server-sent events reach the page as they are written', async () => {
    await page.goto(urlOf('page'));
    const events = (await inPage(`new Promise((resolve) => {
      const got = [];
      const source = new EventSource(${JSON.stringify(`${urlOf('node-stream')}sse`)});
      source.onmessage = ({ data }) => {
        got.push({ data, ms: performance.now() });
        if (got.length < 3) return;
        source.close();
        resolve(got);
      };
      source.onerror = () => resolve(got);
    })`)) as readonly { readonly data: string; readonly ms: number }[];
    assert.deepEqual(
      events.map(({ data }) => data),
      ['0', '1', '2'],
    );
    assert.ok((events[2]?.ms ?? 0) - (events[0]?.ms ?? 0) >= 300);
  });
});
