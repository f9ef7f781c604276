/**
 * Applications on a port whose VMs get several requests at once, behind function URLs: as their clients see them. The same over each
 * driver (`web-concurrency.*.test.ts`).
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
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

/** Of both functions. */
const SLOTS = 4;

/** Each answer names the copy of the application, which is not told by what a snapshot holds. */
const APPLICATION = `
const crypto = require('node:crypto');
const http = require('node:http');
let copy = null;
let here = [];
let written = 0;
let closed = 0;
const held = new Map();
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const server = http.createServer(async (request, response) => {
  copy ??= crypto.randomUUID();
  response.setHeader('x-copy', copy);
  const { pathname, searchParams } = new URL(request.url, 'http://localhost');
  const parts = [];
  for await (const part of request) parts.push(part);
  switch (pathname) {
    case '/meet':
    case '/events': {
      // Until so many are here.
      const count = Number(searchParams.get('count') ?? JSON.parse(Buffer.concat(parts)).count);
      here.push(response);
      if (here.length < count) return;
      response.setHeader('content-type', 'application/json');
      for (const each of here.splice(0)) each.end(JSON.stringify({ copy }));
      return;
    }
    case '/hold': {
      const name = searchParams.get('name');
      held.set(name, response);
      response.on('close', () => held.delete(name));
      return;
    }
    case '/holds':
      return response.end(String(held.size));
    case '/release':
      for (const each of held.values()) each.end('released');
      held.clear();
      return response.end();
    case '/sleep':
      await sleep(Number(searchParams.get('ms')));
      return response.end('slept');
    case '/flood': {
      const part = Buffer.alloc(64 * 1024, 'x');
      let isOpen = true;
      let wake = () => undefined;
      response.on('drain', () => wake());
      response.on('close', () => ((isOpen = false), (closed += 1), wake()));
      while (isOpen) {
        written += part.length;
        if (!response.write(part)) await new Promise((resolve) => (wake = resolve));
      }
      return;
    }
    case '/flooded':
      return response.end(JSON.stringify({ written, closed }));
    case '/echo':
      return response.setHeader('content-type', 'application/octet-stream').end(Buffer.concat(parts));
    case '/print':
      console.log('printed by', searchParams.get('name'));
      return response.end();
    case '/die':
      process.exit(3);
    default:
      return response.end('fine');
  }
});
server.listen(process.env.PORT);
`;

const SNAPSHOT_PATIENCE_MS = 400_000;
/** How long the function has for which a test waits. */
const TIMEOUT_S: Readonly<Record<TestVmm, number>> = {
  ...{ process: 10, 'fake-firecracker': 10, firecracker: 15, qemu: 20 },
};
/** What is surely longer than all that is kept on the way of an answer whose client does not read, in bytes. */
const MOST_BUFFERED = 16 << 20;

interface Got {
  readonly status: number;
  readonly copy: string | null;
  readonly text: string;
}

export function webConcurrency(vmm: TestVmm, start: 'cold' | 'restored'): void {
  describe(`applications with concurrency: ${vmm}, ${start}`, { skip: noCompiler, timeout: 600_000 }, () => {
    const timeoutS = TIMEOUT_S[vmm];
    let workspace: Workspace;
    let controller: RunningController;
    const get = async (path: string, { name = 'app', ...init }: RequestInit & { name?: string } = {}): Promise<Got> => {
      const answer = await fetch(`${controller.url}/url/${name}${path}`, init);
      return { status: answer.status, copy: answer.headers.get('x-copy'), text: await answer.text() };
    };
    /** One whose answer is not read. */
    const open = async (path: string): Promise<IncomingMessage> => {
      const [answer] = (await once(request(`${controller.url}/url/app${path}`).end(), 'response')) as [IncomingMessage];
      return answer;
    };
    const until = async (condition: () => Promise<boolean>, what: string): Promise<void> => {
      const deadline = Date.now() + 60_000;
      while (!(await condition())) {
        assert.ok(Date.now() < deadline, what);
        await sleep(20);
      }
    };
    /** A VM is given back a moment after its answer. */
    const untilVms = async (vms: unknown): Promise<void> => {
      const wanted = JSON.stringify(vms);
      let there = '';
      await until(async () => {
        there = JSON.stringify((await controller.status()).vms);
        return there === wanted;
      }, `${wanted} are there`).catch((error: unknown) => assert.fail(`${String(error)}: there are ${there}`));
    };
    /** A request's slot is given back a moment after its answer: only then is there room for all of the next ones in one VM. */
    const untilRunning = (count: number): Promise<void> =>
      until(async () => (await controller.status()).workers.busy === count, `${count} requests run`);
    /** As many requests, each of which waits for the others: in one VM, or never answered. Beside `running` others. */
    const meet = async (count: number, running = 0): Promise<readonly Got[]> => {
      await untilRunning(running);
      return await Promise.all(Array.from({ length: count }, () => get(`/meet?count=${count}`)));
    };
    const copiesOf = (all: readonly Got[]): Set<string | null> => {
      for (const { status, text } of all) assert.equal(status, 200, text);
      return new Set(all.map(({ copy }) => copy));
    };

    before(async () => {
      const keys = { web: `{port: 3000, max_concurrency: ${SLOTS}}`, url: '{auth: none}', memory: 192 };
      const files = { 'server.js': APPLICATION };
      const functions: readonly TestFunction[] = [
        { name: 'app', runtime: 'nodejs', files, keys: { ...keys, timeout: 600 } },
        { name: 'limited', runtime: 'nodejs', files, keys: { ...keys, timeout: timeoutS, concurrency_limit: 2 } },
      ];
      // Nothing beside what requests ask for.
      workspace = createWorkspace(functions, ['standby: 0']);
      controller = await startController(workspace, {
        vmm,
        // Three VMs.
        memoryMib: 640,
        snapshots: start === 'restored' ? 'being made' : false,
      });
      if (start === 'restored')
        await controller.until(({ snapshots }) => snapshots.ready === functions.length, SNAPSHOT_PATIENCE_MS);
    });

    after(async () => {
      assert.equal(await controller.stop(), 0);
      await assertNothingLeft(workspace);
      workspace.remove();
    });

    test('as many requests as it has slots reach one VM at once, the first ones too', async () => {
      for (let round = 0; round < 3; round += 1) {
        assert.equal(copiesOf(await meet(SLOTS)).size, 1);
      }
      await untilVms({ app: { idle: 1 } });
    });

    test('one more gets another VM, and its concurrency limit counts requests', async (t) => {
      const before = await get('/');
      const away = new AbortController();
      t.after(() => away.abort());
      const hold = (name: string, count: number): Promise<unknown> =>
        Promise.allSettled(
          Array.from({ length: count }, (_, at) => get(`/hold?name=${at}`, { name, signal: away.signal })),
        );
      const holding = hold('app', SLOTS);
      // It cannot be asked how many it holds when it holds that many: by the requests that run.
      await untilRunning(SLOTS);
      const other = await get('/');
      assert.equal(other.status, 200);
      assert.notEqual(other.copy, before.copy);
      await untilVms({ app: { busy: 1, idle: 1 } });
      const both = hold('limited', 2);
      await untilRunning(SLOTS + 2);
      const refused = await get('/', { name: 'limited' });
      assert.equal(refused.status, 429, refused.text);
      const { limited = {} } = (await controller.status()).vms;
      assert.equal(
        Object.values(limited).reduce((sum, count) => sum + count, 0),
        1,
      );
      // Clients that hang up leave their VM to others.
      await until(async () => (await controller.status()).vms['limited']?.busy === 1, 'its VM is there');
      away.abort();
      await Promise.all([holding, both]);
      await untilRunning(0);
      await untilVms({ app: { idle: 2 }, limited: { idle: 1 } });
    });

    test('events, requests over the API and those of the URL meet in one VM', async () => {
      const invoke = fetch(`${controller.url}/2015-03-31/functions/app/invocations`, {
        method: 'POST',
        body: JSON.stringify({ count: 3 }),
      });
      const event = fetch(`${controller.url}/2015-03-31/functions/app/invocations`, {
        method: 'POST',
        headers: { 'x-amz-invocation-type': 'Event' },
        body: JSON.stringify({ count: 3 }),
      });
      assert.equal((await event).status, 202);
      const { status, copy, text } = await get('/meet?count=3');
      assert.equal(status, 200, text);
      assert.deepEqual(await (await invoke).json(), { copy });
    });

    test('a client that does not read stands in nobody’s way, and hangs up on its own answer alone', async () => {
      const { copy } = await get('/');
      const slow = await open('/flood');
      assert.equal(slow.headers['x-copy'], copy);
      let flooded = { written: -1, closed: 0 };
      await until(async () => {
        const before = flooded.written;
        const now = await get('/flooded');
        assert.equal(now.copy, copy);
        flooded = JSON.parse(now.text) as typeof flooded;
        await sleep(200);
        return flooded.written > 0 && flooded.written === before;
      }, 'the application is held up');
      assert.ok(flooded.written < MOST_BUFFERED, `${flooded.written} bytes were written`);
      // As often as each of the others could have been.
      for (let round = 0; round < 20; round += 1) {
        assert.deepEqual(copiesOf(await meet(SLOTS - 1, 1)), new Set([copy]));
      }
      // It goes on as it is read.
      let read = 0;
      for await (const part of slow) {
        read += (part as Buffer).length;
        if (read > 4 * flooded.written) break;
      }
      slow.destroy();
      await until(
        async () => (JSON.parse((await get('/flooded')).text) as typeof flooded).closed === 1,
        'it hears of it',
      );
      assert.deepEqual(copiesOf(await meet(SLOTS)), new Set([copy]));
    });

    test('large bodies go both ways beside each other', async () => {
      const bodies = ['a', 'ä', '\u0000', '{'].map((text) => Buffer.alloc(vmm === 'qemu' ? 1 << 20 : 4 << 20, text));
      const answers = await Promise.all(
        bodies.map(async (body) => {
          const answer = await fetch(`${controller.url}/url/app/echo`, { method: 'POST', body });
          assert.equal(answer.status, 200);
          return Buffer.from(await answer.arrayBuffer());
        }),
      );
      for (const [at, body] of bodies.entries()) assert.ok(answers[at]?.equals(body), `body ${at}`);
    });

    test('of one that runs over its time the others get their answers, and then the VM ends', async () => {
      const { copy } = await get('/', { name: 'limited' });
      const hanging = get('/hold?name=x', { name: 'limited' });
      await sleep(timeoutS * 500);
      // It is asked for before the time of that one is over, and answered after it.
      const other = get(`/sleep?ms=${timeoutS * 600}`, { name: 'limited' });
      assert.equal((await hanging).status, 504);
      const next = await get('/', { name: 'limited' });
      assert.equal(next.status, 200);
      assert.notEqual(next.copy, copy);
      assert.deepEqual(await other, { status: 200, copy, text: 'slept' });
      await until(async () => (await controller.status()).vms['limited']?.busy === undefined, 'its VM goes');
    });

    test('the end of the application is told to each request on it, once', async () => {
      const { copy } = await get('/');
      const held = ['a', 'b'].map((name) => get(`/hold?name=${name}`));
      await until(async () => (await get('/holds')).text === '2', 'they are held');
      const all = await Promise.all([...held, get('/die')]);
      for (const { status, text } of all) assert.equal(status, 502, text);
      const next = await get('/');
      assert.equal(next.status, 200);
      assert.notEqual(next.copy, copy);
    });

    test('what is printed is told with no request, where several could have printed it', async () => {
      await Promise.all(['a', 'b'].map((name) => get(`/print?name=${name}`)));
      for (const name of ['a', 'b']) {
        const line = (): string | undefined => controller.log.find((text) => text.includes(`printed by ${name}`));
        await until(() => Promise.resolve(line() !== undefined), 'it is logged');
        assert.doesNotMatch(line() ?? '', /"request":/);
      }
    });

    test('a controller that stops has all of them answered', async () => {
      await untilRunning(0);
      assert.equal(await controller.stop(), 0);
      controller = await startController(workspace, { vmm, memoryMib: 640, snapshots: start === 'restored' });
      const held = Array.from({ length: SLOTS }, () => get('/sleep?ms=4000'));
      await untilRunning(SLOTS);
      const stopped = controller.stop();
      copiesOf(await Promise.all(held));
      assert.equal(await stopped, 0);
      controller = await startController(workspace, { vmm, memoryMib: 640, snapshots: start === 'restored' });
    });
  });
}
