/** The live page in a real browser, under real load. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { chromium, type Browser, type Page } from 'playwright-core';
import {
  assertNothingLeft,
  createWorkspace,
  startController,
  type RunningController,
  type TestFunction,
  type Workspace,
} from '../support/snapctr.ts';

const CHROMIUM = '/usr/bin/chromium';
const skip = existsSync(CHROMIUM) ? false : `there is no ${CHROMIUM}; install Debian's chromium`;

const HANDLER = `
exports.handler = async (event) => {
  if (event.print !== undefined) process.stdout.write(Buffer.from(event.print, 'base64'));
  if (event.ms !== undefined) await new Promise((resolve) => setTimeout(resolve, event.ms));
  if (event.fail === true) throw new Error('as asked for');
  return { echo: event };
};
`;

function testFunction(name: string): TestFunction {
  return { name, runtime: 'nodejs', files: { 'index.js': HANDLER }, keys: { handler: 'index.handler' } };
}

describe('the live page in a browser', { timeout: 240_000, skip }, () => {
  let workspace: Workspace;
  let controller: RunningController;
  let browser: Browser;
  let page: Page;
  const problems: string[] = [];

  before(async () => {
    workspace = createWorkspace(['one', 'two', 'three', '__proto__'].map(testFunction));
    controller = await startController(workspace, { vmm: 'process', memoryMib: 512 });
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
    page = await browser.newPage();
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('console', (line) => line.type() === 'error' && problems.push(line.text()));
  });

  after(async () => {
    await browser.close();
    await controller.stop();
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  test('shows VMs as they are launched, work and become idle', async () => {
    await page.goto(`${controller.url}/ui`);
    await page.getByRole('status').filter({ hasText: 'Live' }).waitFor();
    assert.equal(await page.locator('.bar .vm').count(), 0);
    const running = controller.invoke('one', { ms: 1500 });
    await page.locator('.bar .vm.launching[data-function=one]').waitFor();
    await page.locator('.bar .vm.busy[data-function=one]').waitFor();
    await running;
    await page.locator('.bar .vm.idle[data-function=one]').waitFor();
    await page.getByText('128 MiB of 512 MiB reserved by 1 VM, 128 MiB of it idle').waitFor();
    assert.deepEqual(problems, []);
  });
});
