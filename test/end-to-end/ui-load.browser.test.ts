/** The live page in a real browser, while requests, events, versions and VMs that are kept ready come and go. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import * as sdk from '@aws-sdk/client-lambda';
import type { Browser, Locator } from 'playwright-core';
import { makeZip } from '../packages/zip.ts';
import { invokeRaw, lambdaClient } from '../support/lambda-client.ts';
import {
  assertAccessible,
  launchBrowser,
  newPage,
  watchBlocks,
  withoutBrowser as skip,
  type OpenPage,
} from '../support/live-page.ts';
import {
  assertNothingLeft,
  createWorkspace,
  startController,
  type RunningController,
  type TestFunction,
  type Workspace,
} from '../support/snapctr.ts';

/** Ends when the file is there, so that tests say when. */
const HANDLER = `
const { existsSync } = require('node:fs');
exports.handler = async (event) => {
  while (event.until !== undefined && !existsSync(event.until)) await new Promise((resolve) => setTimeout(resolve, 20));
  if (event.fail === true) throw new Error('as asked for');
  return { echo: event };
};
`;
const LOADED = ['one', 'two', 'three', 'four', 'five'];
const SHELF = Array.from({ length: 60 }, (_, at) => `shelf-${String(at).padStart(2, '0')}`);
/** As the page lists them while none has requests. */
const ALL = [...LOADED, ...SHELF].sort();
const MEMORY_MIB = 1024;
const WORKERS = MEMORY_MIB / 128;
/** A machine that is busy with others, in ms. */
const PATIENCE = { timeout: 60_000 };

function testFunction(name: string): TestFunction {
  return { name, runtime: 'nodejs', files: { 'index.js': HANDLER }, keys: { handler: 'index.handler' } };
}

/** The value of a tile, and what is below it. */
function tile({ page }: OpenPage, name: string): Locator {
  return page
    .locator('.tile')
    .filter({ has: page.getByText(name, { exact: true }) })
    .locator('dd');
}

function rowOf({ page }: OpenPage, name: string): Locator {
  return page.locator('.functions tbody tr').filter({ has: page.getByRole('link', { name, exact: true }) });
}

function cell(open: OpenPage, name: string, column: string): Locator {
  return rowOf(open, name).locator(`[data-name="${column}"]`);
}

/** A number of the legend of VMs, such as "busy 3". */
function legend({ page }: OpenPage, text: string): Locator {
  return page.getByRole('list', { name: 'VMs by state' }).getByRole('listitem').filter({ hasText: text });
}

/** Such as "1.23 s", in ms. */
function msOf(text: string): number {
  const [, value, unit] = /^([\d.,]+) (ms|s)$/.exec(text) ?? [];
  assert.ok(value !== undefined && unit !== undefined, `${text} is no time`);
  return Number(value.replaceAll(',', '')) * (unit === 's' ? 1000 : 1);
}

describe('the live page under load', { timeout: 300_000, skip }, () => {
  let workspace: Workspace;
  let controller: RunningController;
  let browser: Browser;
  const opened: OpenPage[] = [];
  const client = (): sdk.LambdaClient => lambdaClient(controller.url);

  const open = async (view: string): Promise<OpenPage> => {
    const one = await newPage(browser);
    opened.push(one);
    await one.page.goto(`${controller.url}/ui${view}`);
    await one.page.getByRole('status').filter({ hasText: 'Live' }).waitFor(PATIENCE);
    return one;
  };

  before(async () => {
    workspace = createWorkspace(ALL.map(testFunction));
    const args = ['--data-dir', join(workspace.directory, 'data')];
    controller = await startController(workspace, { vmm: 'process', memoryMib: MEMORY_MIB, args });
    browser = await launchBrowser();
  });

  afterEach(async () => {
    for (const { problems, close } of opened.splice(0)) {
      await close();
      assert.deepEqual(problems, []);
    }
  });

  after(async () => {
    await browser.close();
    await controller.stop();
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  test('finds functions by their names, also after a reload, and shows them a page at a time', async () => {
    const overview = await open('#/');
    const { page } = overview;
    const names = page.locator('.functions tbody th');
    const range = page.getByRole('navigation', { name: 'Pages of functions' }).locator('span');
    const [previous, next] = ['Previous', 'Next'].map((name) => page.getByRole('button', { name }));
    assert.ok(previous !== undefined && next !== undefined);
    await range.getByText('1–25 of 65', { exact: true }).waitFor();
    assert.deepEqual(await names.allTextContents(), ALL.slice(0, 25));
    assert.equal(await previous.isDisabled(), true);
    await next.click();
    await range.getByText('26–50 of 65', { exact: true }).waitFor();
    assert.deepEqual(await names.allTextContents(), ALL.slice(25, 50));
    await next.press('Enter');
    await range.getByText('51–65 of 65', { exact: true }).waitFor();
    assert.deepEqual(await names.allTextContents(), ALL.slice(50));
    assert.equal(await next.isDisabled(), true);
    await assertAccessible(page);
    await previous.click();
    await range.getByText('26–50 of 65', { exact: true }).waitFor();
    // Far down: a function is seen from its beginning, where the keyboard is as well.
    await page.getByRole('link', { name: 'shelf-44' }).click();
    await page.getByRole('heading', { name: 'shelf-44' }).waitFor();
    await page.locator('.output').waitFor();
    assert.deepEqual(await page.evaluate('[scrollY, document.activeElement.id]'), [0, 'main']);
    await page.goBack();
    await range.getByText('1–25 of 65', { exact: true }).waitFor();

    // What is found is shown from its beginning.
    const search = page.getByRole('searchbox', { name: 'Search functions by name' });
    await search.fill('SHELF-4');
    await names.getByText('shelf-40').waitFor();
    assert.deepEqual(await names.allTextContents(), SHELF.slice(40, 50));
    assert.equal(await range.count(), 0);
    await page.reload();
    await names.getByText('shelf-40').waitFor();
    assert.equal(await search.inputValue(), 'SHELF-4');
    assert.deepEqual(await names.allTextContents(), SHELF.slice(40, 50));
    // The address says how it is looked at: a link to all functions is one to all of them.
    await page.getByRole('link', { name: 'SnapFaaS' }).click();
    await range.getByText('1–25 of 65', { exact: true }).waitFor();
    assert.equal(await search.inputValue(), '');
    await page.goBack();
    await names.getByText('shelf-40').waitFor();
    assert.equal(await search.inputValue(), 'SHELF-4');
    await search.fill('no such thing');
    await page.getByText('No function has "no such thing" in its name.').waitFor();
    await search.fill('');
    await range.getByText('1–25 of 65', { exact: true }).waitFor();
    assert.ok(!page.url().includes('search'), page.url());
  });

  test('tells of events that wait, in the row of their function and on its page', async () => {
    const [overview, own] = [await open('#/'), await open('#/functions/shelf-07')];
    const until = join(workspace.directory, 'events-released');
    await own.page.getByText('no requests in the last minute').waitFor();
    for (let n = 0; n < 3; n += 1) {
      const sent = { 'x-amz-invocation-type': 'Event' };
      assert.equal((await invokeRaw(controller.url, 'shelf-07', JSON.stringify({ n, until }), sent)).status, 202);
    }
    await tile(overview, 'Events pending').getByText('3', { exact: true }).waitFor();
    await tile(overview, 'Events pending')
      .getByText(/oldest \d+ s/)
      .waitFor();
    await overview.page.getByRole('columnheader', { name: 'Events' }).getByRole('button').click();
    await cell(overview, 'shelf-07', 'Events').getByText('3', { exact: true }).waitFor();
    assert.match((await overview.page.locator('.functions tbody th').first().textContent()) ?? '', /shelf-07/);
    await own.page.getByText('3 events pending').waitFor();
    writeFileSync(until, '');
    await tile(overview, 'Events pending').getByText('0', { exact: true }).waitFor(PATIENCE);
    await cell(overview, 'shelf-07', 'Events').getByText('–', { exact: true }).waitFor();
    await own.page.getByText(/requests\/s, 0 errors, p50 [^,]+, p99 [^,]+$/).waitFor();
    await own.page.locator('.invocations details').nth(2).waitFor();
    assert.equal(await own.page.getByText('pending').count(), 0);
  });

  test('counts and lists the versions of a function, and shows VMs that are kept ready for one', async () => {
    const lambda = client();
    const FunctionName = 'shop';
    const zip = (answer: number): Buffer => makeZip([{ name: 'index.js', data: `// ${answer}\n${HANDLER}` }]);
    const limits = { maxWaitTime: 60, minDelay: 0.1, maxDelay: 0.5 };
    const publish = async (version: string): Promise<void> => {
      await sdk.waitUntilPublishedVersionActive({ client: lambda, ...limits }, { FunctionName, Qualifier: version });
    };
    try {
      const [overview, own] = [await open('#/?search=shop'), await open(`#/functions/${FunctionName}`)];
      await own.page.getByRole('alert').getByText('There is no function shop.').waitFor();
      const Role = 'arn:aws:iam::000000000000:role/any';
      await lambda.send(
        new sdk.CreateFunctionCommand({
          ...{ FunctionName, Role, Runtime: 'nodejs20.x', Handler: 'index.handler', Publish: true },
          Code: { ZipFile: zip(1) },
        }),
      );
      await publish('1');
      await cell(overview, FunctionName, 'Versions').getByText('1', { exact: true }).waitFor();
      await lambda.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ZipFile: zip(2), Publish: true }));
      await publish('2');
      await cell(overview, FunctionName, 'Versions').getByText('2', { exact: true }).waitFor();
      await own.page.locator('.versions tbody tr').nth(2).waitFor();
      assert.deepEqual(await own.page.locator('.versions tbody th').allTextContents(), ['$LATEST', '2', '1']);
      await own.page.locator('.versions tbody tr').nth(2).getByText('active').waitFor();
      await own.page.getByRole('definition').getByText('1, 2', { exact: true }).waitFor();

      await legend(overview, 'kept ready 0').waitFor();
      const blocksSeen = await watchBlocks(overview.page);
      await lambda.send(
        new sdk.PutProvisionedConcurrencyConfigCommand({
          ...{ FunctionName, Qualifier: '2', ProvisionedConcurrentExecutions: 2 },
        }),
      );
      await legend(overview, 'kept ready 2').waitFor(PATIENCE);
      const kept = overview.page.locator('.bar .vm.kept[data-function=shop]');
      assert.equal(await kept.count(), 2);
      await own.page.locator('.vms tbody tr').filter({ hasText: 'kept ready' }).nth(1).waitFor();
      assert.deepEqual(await own.page.locator('.vms tbody td:nth-child(2)').allTextContents(), ['2', '2']);
      await assertAccessible(overview.page);

      const until = join(workspace.directory, 'kept-released');
      const running = invokeRaw(controller.url, `${FunctionName}:2`, JSON.stringify({ until }));
      await legend(overview, 'busy 1').waitFor();
      await legend(overview, 'kept ready 1').waitFor();
      writeFileSync(until, '');
      assert.equal((await running).status, 200);
      await legend(overview, 'kept ready 2').waitFor();
      const seen = (await blocksSeen()).filter((block) => block.startsWith('shop '));
      assert.deepEqual(seen.slice(-2), ['shop busy', 'shop kept']);
      await lambda.send(new sdk.DeleteProvisionedConcurrencyConfigCommand({ FunctionName, Qualifier: '2' }));
      await legend(overview, 'kept ready 0').waitFor();
      assert.equal(await kept.count(), 0);
    } finally {
      lambda.destroy();
    }
  });

  test('shows queue, workers, rates, errors and times of requests, all of which are as they were seen by who sent them', async () => {
    const [overview, own] = [await open('#/'), await open('#/functions/four')];
    const until = join(workspace.directory, 'load-released');
    const times: number[] = [];
    const send = async (name: string, payload: object): Promise<void> => {
      const begun = performance.now();
      const { status } = await controller.invoke(name, { ...payload, until });
      times.push(performance.now() - begun);
      assert.equal(status, 'fail' in payload ? 502 : 200);
    };
    const each = 40;
    const sent = Array.from({ length: each * LOADED.length }, (_, n) =>
      send(LOADED[n % LOADED.length] ?? '', n % 20 < 5 ? { fail: true } : {}),
    );
    await tile(overview, 'Workers busy').getByText(String(WORKERS), { exact: true }).waitFor(PATIENCE);
    await tile(overview, 'Queue')
      .getByText(String(sent.length - WORKERS), { exact: true })
      .waitFor(PATIENCE);
    const allSeenAt = performance.now();
    await tile(overview, 'Queue').getByText('of 1,024').waitFor();
    await legend(overview, `busy ${WORKERS}`).waitFor();
    await overview.page.getByText(`1 GiB of 1 GiB reserved by ${WORKERS} VMs, 0 MiB of it idle`).waitFor();
    await own.page.locator('.vms tbody td').getByText('busy').first().waitFor();
    await assertAccessible(overview.page);
    await assertAccessible(own.page);
    const heldMs = performance.now() - allSeenAt;
    writeFileSync(until, '');
    await Promise.all(sent);

    await tile(overview, 'Queue').getByText('0', { exact: true }).waitFor();
    await tile(overview, 'Workers busy').getByText('0', { exact: true }).waitFor();
    for (const name of LOADED) {
      await cell(overview, name, 'Requests/s').getByText('0.7', { exact: true }).waitFor();
      await cell(overview, name, 'Errors').getByText('25 %', { exact: true }).waitFor();
      const [p50 = 0, p99 = 0] = await Promise.all(
        ['p50', 'p99'].map(async (column) => msOf((await cell(overview, name, column).textContent()) ?? '')),
      );
      // Of a time the page tells the range in which it is: the value is a tenth off at most.
      const [least, most] = [heldMs * 0.9, Math.max(...times) * 1.1];
      assert.ok(least <= p50 && p50 <= p99 && p99 <= most, `${name}: ${least} <= ${p50} <= ${p99} <= ${most}`);
    }
    await own.page.getByText(/0\.7 requests\/s, 10 errors, p50 /).waitFor();
    const { counters } = await controller.status();
    await tile(overview, 'VM launches').getByText(String(counters.launches), { exact: true }).waitFor();
    await tile(overview, 'VM launches').getByText(`${counters.reuses} reused`).waitFor();
    await tile(overview, 'Evictions').getByText(String(counters.evictions), { exact: true }).waitFor();
    // Of one function all are told of, also those of which the list shows the last few.
    const starts = own.page.getByRole('list', { name: 'Requests by start' }).locator('b');
    await own.page.getByRole('listitem').filter({ hasText: 'failed 10' }).waitFor();
    const counts = (await starts.allTextContents()).map(Number);
    assert.equal(
      counts.reduce((sum, count) => sum + count, 0),
      each,
      counts.join(),
    );
    assert.equal(await own.page.locator('.invocations details').count(), 8);
    await own.page.getByRole('button', { name: 'Show 12 more' }).click();
    assert.equal(await own.page.locator('.invocations details').count(), 20);
  });
});

test(
  'the live page shows a VM that was launched ahead, until its first request has found it',
  { timeout: 180_000, skip },
  async () => {
    const workspace = createWorkspace([testFunction('one')], ['standby: 128']);
    const controller = await startController(workspace, {
      ...{ vmm: 'fake-firecracker', memoryMib: 128, snapshots: true },
    });
    const browser = await launchBrowser();
    const overview = await newPage(browser);
    try {
      await overview.page.goto(`${controller.url}/ui`);
      await overview.page.locator('.bar .vm.ahead[data-function=one]').waitFor(PATIENCE);
      await legend(overview, 'launched ahead 1').waitFor();
      await legend(overview, 'idle 0').waitFor();
      await assertAccessible(overview.page);
      const blocksSeen = await watchBlocks(overview.page);
      const answer = await controller.invoke('one', {});
      assert.deepEqual([answer.status, answer.headers.get('x-snapfaas-start')], [200, 'restored']);
      await overview.page.locator('.bar .vm.idle[data-function=one]').waitFor();
      await legend(overview, 'launched ahead 0').waitFor();
      await legend(overview, 'idle 1').waitFor();
      assert.equal((await blocksSeen()).at(-1), 'one idle');
      const starts = overview.page.getByRole('list', { name: 'Requests by start' });
      await starts.getByRole('listitem').filter({ hasText: 'launched ahead 1' }).waitFor();
      assert.deepEqual(overview.problems, []);
    } finally {
      await overview.close();
      await browser.close();
      await controller.stop();
    }
    await assertNothingLeft(workspace);
    workspace.remove();
  },
);
