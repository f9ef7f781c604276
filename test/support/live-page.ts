/** The live page in a real browser, as tests look at it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium, type Browser, type Page } from 'playwright-core';
import { CHROMIUM, whyWithout } from './needed-program.ts';
import { PROJECT_ROOT } from './snapctr.ts';

/** Why there is no browser here; false: there is one. */
export const withoutBrowser = whyWithout(CHROMIUM, 'chromium');

export function launchBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
}

export interface OpenPage {
  readonly page: Page;
  /** Errors that nobody caught, and those on its console, which also has the addresses that were refused. */
  readonly problems: string[];
  close(): Promise<void>;
}

/** In a context of its own: nothing is cached, and nobody is signed in. */
export async function newPage(browser: Browser): Promise<OpenPage> {
  const context = await browser.newContext();
  const page = await context.newPage();
  const problems: string[] = [];
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (line) => line.type() === 'error' && problems.push(`${line.text()} ${line.location().url}`));
  return { page, problems, close: () => context.close() };
}

/** As axe sees it. */
export async function assertAccessible(page: Page): Promise<void> {
  await page.evaluate(readFileSync(join(PROJECT_ROOT, 'node_modules/axe-core/axe.min.js'), 'utf8'));
  const found = await page.evaluate<readonly string[]>(
    'axe.run().then(({ violations }) => violations.map(({ id, nodes }) => id + ": " + nodes.map((one) => one.html).join(" ")))',
  );
  assert.deepEqual(found, []);
}

/** @returns what tells since when which block was in which state, however short it was, as "FUNCTION STATE". */
export async function watchBlocks(page: Page): Promise<() => Promise<readonly string[]>> {
  await page.evaluate(`globalThis.seen = [];
    const states = new Map();
    const look = (block) => {
      const state = ['launching', 'busy', 'idle', 'kept', 'ahead', 'evicted'].find((one) => block.classList.contains(one));
      if (state === undefined || states.get(block) === state) return;
      states.set(block, state);
      globalThis.seen.push(block.dataset.function + ' ' + state);
    };
    new MutationObserver((changes) => {
      for (const { target, addedNodes } of changes) [target, ...addedNodes].filter((one) => one.matches?.('.vm')).forEach(look);
    }).observe(document.querySelector('.bar'), { subtree: true, childList: true, attributes: true, attributeFilter: ['class'] });`);
  return () => page.evaluate<readonly string[]>('globalThis.seen');
}
