/** The live page in headless Chromium: how soon it is seen, how soon an invocation is on it, and what it costs where much happens. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { brotliCompressSync } from 'node:zlib';
import { chromium, type Browser } from 'playwright-core';
import { withGateway } from '../../test/controller/gateway/http-client.ts';
import { BusyHost } from '../../test/support/busy-host.ts';
import { createWorkspace, PROJECT_ROOT, startController, type TestFunction } from '../../test/support/snapctr.ts';
import { CHROMIUM, whyWithout } from '../../test/support/needed-program.ts';
import { median, result, summary, type Benchmark, type Result } from '../result.ts';

const PAGE = join(PROJECT_ROOT, 'dist/ui/page');
const LOADS = 10;
const INVOCATIONS = 30;
const STEP_MS = 100;
/** How long the page is watched on a busy host, in ms, after it had time to draw it. */
const SETTLE_MS = 5000;
const WATCH_MS = 20_000;
/** When the first text or picture was seen, in ms. */
const FIRST_PAINT = `new Promise((resolve) => {
  new PerformanceObserver((list) => {
    for (const { name, startTime } of list.getEntries()) if (name === 'first-contentful-paint') resolve(startTime);
  }).observe({ type: 'paint', buffered: true });
})`;
const ECHO: TestFunction = {
  name: 'echo',
  runtime: 'nodejs',
  files: { 'workload.js': 'exports.handle = (request) => request;\n' },
};

export const page: Benchmark = {
  name: 'page',
  async run() {
    const missing = whyWithout(CHROMIUM, 'chromium');
    if (missing !== false) {
      console.log(`page: left out, ${missing}`);
      return [];
    }
    const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
    try {
      return [scriptSize(), ...(await onSmallHost(browser)), ...(await onBusyHost(browser))];
    } finally {
      await browser.close();
    }
  },
};

function scriptSize(): Result {
  const scripts = readdirSync(PAGE).filter((name) => name.endsWith('.js'));
  const bytes = scripts.reduce((sum, name) => sum + brotliCompressSync(readFileSync(join(PAGE, name))).length, 0);
  return result('page-script', bytes / 1000, 'KB', { at: 'most', value: 150 }, [], 'brotli, as it is sent');
}

/** Of a controller with one function on `process`. */
async function onSmallHost(browser: Browser): Promise<readonly Result[]> {
  const workspace = createWorkspace([ECHO]);
  const controller = await startController(workspace, { vmm: 'process', memoryMib: 512 });
  try {
    const paintedMs: number[] = [];
    for (let load = 0; load < LOADS; load += 1) {
      const context = await browser.newContext();
      const fresh = await context.newPage();
      await fresh.goto(`${controller.url}/ui`);
      await fresh.locator('.functions tr').first().waitFor();
      paintedMs.push(await fresh.evaluate<number>(FIRST_PAINT));
      await context.close();
    }
    const shown = await browser.newPage();
    await shown.goto(`${controller.url}/ui#/functions/echo`);
    await shown.getByText('There was none yet.').waitFor();
    const shownMs: number[] = [];
    for (let call = 0; call < INVOCATIONS; call += 1) {
      const { headers } = await controller.invoke('echo', {});
      const endedAt = performance.now();
      await shown.locator(`[data-request="${headers.get('x-snapfaas-request-id') ?? ''}"]`).waitFor();
      shownMs.push(performance.now() - endedAt);
    }
    return [
      result('page-first-paint', median(paintedMs), 'ms', { at: 'most', value: 1000 }, paintedMs, summary(paintedMs)),
      result('page-invocation', median(shownMs), 'ms', { at: 'most', value: 300 }, shownMs, summary(shownMs)),
    ];
  } finally {
    await controller.stop();
    workspace.remove();
  }
}

/** 10,000 functions, 1,000 VMs, 200 requests and as many changes of VMs a second. */
async function onBusyHost(browser: Browser): Promise<readonly Result[]> {
  const host = new BusyHost();
  const results: Result[] = [];
  await withGateway({ livePage: { directory: PAGE, source: host.rows } }, async (_, port) => {
    const stepping = setInterval(() => host.step(), STEP_MS);
    try {
      await sleep(2000);
      const alone = await shareOfCore(WATCH_MS / 4);
      const shown = await browser.newPage();
      await shown.goto(`http://127.0.0.1:${port}/ui`);
      await shown.locator('.bar .vm').nth(999).waitFor();
      await sleep(SETTLE_MS);
      const session = await shown.context().newCDPSession(shown);
      // Processor time: the page's thread shares its core.
      await session.send('Performance.enable', { timeDomain: 'threadTicks' });
      const taskS = async (): Promise<number> =>
        (await session.send('Performance.getMetrics')).metrics.find(({ name }) => name === 'TaskDuration')?.value ??
        NaN;
      const before = await taskS();
      const served = await shareOfCore(WATCH_MS);
      const drawn = (await taskS()) - before;
      // Apart: to count frames is to have them drawn.
      const seen = await shown.evaluate<number>(`new Promise((resolve) => {
        let frames = 0;
        const end = performance.now() + ${WATCH_MS};
        const next = () => (performance.now() > end ? resolve(frames) : ((frames += 1), requestAnimationFrame(next)));
        requestAnimationFrame(next);
      })`);
      const perSecond = seen / (WATCH_MS / 1000);
      results.push(
        result(
          'page-busy-frames',
          perSecond,
          'frames/s',
          { at: 'least', value: 30 },
          [],
          '10,000 functions, 1,000 VMs',
        ),
        result(
          'page-busy-cpu',
          (drawn * 1000 * 100) / WATCH_MS,
          '% of a core',
          { at: 'most', value: 5 },
          [],
          'main thread of the page',
        ),
        result(
          'page-busy-snapctr',
          served - alone,
          '% of a core',
          { at: 'most', value: 5 },
          [],
          `with a reader ${served.toFixed(1)} %, without ${alone.toFixed(1)} %`,
        ),
      );
    } finally {
      clearInterval(stepping);
    }
  });
  return results;
}

/** Of this process, in %. */
async function shareOfCore(ms: number): Promise<number> {
  const before = process.cpuUsage();
  const begun = performance.now();
  await sleep(ms);
  const { user, system } = process.cpuUsage(before);
  return ((user + system) / 1000 / (performance.now() - begun)) * 100;
}
