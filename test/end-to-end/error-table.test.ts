import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import { ERROR_TABLE, type ErrorCode } from '../../src/protocol/errors.ts';
import { obedient, source } from '../support/functions.ts';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  PROJECT_ROOT,
  startController,
  type Answer,
  type RunningController,
  type TestFunction,
  type Workspace,
} from '../support/snapctr.ts';
import { held, hold, release } from './held.ts';
import { until } from './processes.ts';

/** Rows that no client can see today, each with the reason. Whoever raises one removes it here and tests it below. */
const NOT_RAISED: Readonly<Partial<Record<ErrorCode, string>>> = {
  unauthorized: 'there are no users yet',
  internal: 'it stands for a bug of ours; what is called so otherwise is for clients that are gone',
};

const tested = new Set<ErrorCode>();
/** Answers "alive" in each test, to show that an error is one request's alone. */
const bystander = source('bystander', 'nodejs', "exports.handle = () => 'alive';\n");

describe('the error table, over HTTP', { timeout: 120_000 }, () => {
  let workspace: Workspace | null = null;
  let controller: RunningController | null = null;

  afterEach(async () => {
    controller?.kill('SIGKILL');
    await controller?.exited;
    if (workspace !== null) await assertNothingLeft(workspace);
    workspace?.remove();
    workspace = null;
    controller = null;
  });

  interface Setup {
    readonly functions?: readonly TestFunction[];
    readonly controllerKeys?: readonly string[];
    readonly memoryMib?: number;
    readonly env?: (workspace: Workspace) => NodeJS.ProcessEnv;
  }

  const start = async (setup: Setup = {}): Promise<{ workspace: Workspace; controller: RunningController }> => {
    workspace = createWorkspace([bystander, ...(setup.functions ?? [])], setup.controllerKeys);
    const { memoryMib, env } = setup;
    controller = await startController(workspace, {
      vmm: 'process',
      memoryMib: memoryMib ?? 1024,
      ...(env === undefined ? {} : { env: env(workspace) }),
    });
    return { workspace, controller };
  };

  const row = (code: ErrorCode, title: string, body: () => Promise<void>): void => {
    tested.add(code);
    test(`${code}: ${title}`, body);
  };

  /** Starts a request that does not end yet; its answer is in a list, so that awaiting this does not await it. */
  const startBusy = async (running: RunningController, name: string, payload: unknown): Promise<Promise<Answer>[]> => {
    const answer = running.invoke(name, payload);
    answer.catch(() => undefined);
    await running.until((status) => status.vms[name]?.busy === 1);
    return [answer];
  };

  row('bad_request', 'what is not JSON, and what has another shape', async () => {
    const { controller } = await start();
    for (const [body, words] of [
      ['{"function":', /not valid JSON/],
      ['[]', /JSON object, not an array/],
      ['{"function":"bystander"}', /"payload" is missing/],
      ['{"function":"bystander","payload":1,"paylaod":2}', /unknown key "paylaod"/],
    ] as const) {
      assertError(await controller.post(body), 'bad_request', words);
    }
    await assertServes(controller);
  });

  row('forbidden', 'a web page of another origin, unless it is allowed', async () => {
    const { controller } = await start();
    const send = (origin: string): Promise<Response> =>
      fetch(controller.url, {
        method: 'POST',
        headers: { origin },
        body: '{"function":"bystander","payload":1}',
      });
    const refused = await send('http://evil.example');
    assert.equal(refused.status, 403);
    const { error } = (await refused.json()) as { error: { code: string; message: string } };
    assert.equal(error.code, 'forbidden');
    assert.match(error.message, /start snapctr with --allow-origin http:\/\/evil\.example/);
    await assertServes(controller);
  });

  row('function_not_found', 'names the function', async () => {
    const { controller } = await start();
    assertError(await controller.invoke('nobody', null), 'function_not_found', /"nobody"/);
    await assertServes(controller);
  });

  row('payload_too_large', 'names the limit, as configured and by default', async () => {
    const first = await start({ controllerKeys: ['max_payload: 1000'] });
    assertError(
      await first.controller.invoke('bystander', 'x'.repeat(1000)),
      'payload_too_large',
      /limit of 1000 bytes/,
    );
    await assertServes(first.controller);
    assert.equal(await first.controller.stop(), 0);
    first.workspace.remove();
    const { controller } = await start();
    const answer = await controller.invoke('bystander', 'x'.repeat(6 << 20));
    assertError(answer, 'payload_too_large', /limit of 6291456 bytes/);
    await assertServes(controller);
  });

  row('resource_exhausted', 'when all memory is busy; says how much is needed and there', async () => {
    const functions = [held('held', { memory: 256 }), obedient('big', 'nodejs', { memory: 256 })];
    const { workspace, controller } = await start({ functions, memoryMib: 384 });
    const [running] = await startBusy(controller, 'held', hold(workspace));
    const words = /big needs 256 MB; 128 MB of 384 MB are free and 0 MB idle.*--mem/;
    assertError(await controller.invoke('big', { do: 'nothing' }), 'resource_exhausted', words);
    await assertServes(controller);
    release(workspace);
    assert.equal((await running)?.body, 'released');
    assert.equal((await controller.invoke('big', { do: 'nothing' })).body, null);
  });

  row('resource_exhausted', 'when a function runs as often as its concurrency_limit allows', async () => {
    const { workspace, controller } = await start({ functions: [held('held', { concurrency_limit: 1 })] });
    const [running] = await startBusy(controller, 'held', hold(workspace));
    assertError(await controller.invoke('held', hold(workspace)), 'resource_exhausted', /concurrency_limit/);
    await assertServes(controller);
    release(workspace);
    assert.equal((await running)?.body, 'released');
    assert.equal((await controller.invoke('held', hold(workspace))).headers.get('x-snapfaas-start'), 'warm');
  });

  row('queue_full', 'when a request waits already for the one worker; names queue_capacity', async () => {
    const setup = { functions: [held('held')], controllerKeys: ['queue_capacity: 1'], memoryMib: 128 };
    const { workspace, controller } = await start(setup);
    const [running] = await startBusy(controller, 'held', hold(workspace));
    const waiting = controller.invoke('held', hold(workspace));
    await controller.until((status) => status.queue.length === 1);
    assertError(await controller.invoke('bystander', null), 'queue_full', /queue_capacity/);
    const ready = async (): Promise<unknown> => {
      const answer = await fetch(`${controller.url}/readyz`);
      return [answer.status, await answer.json()];
    };
    assert.deepEqual(await ready(), [503, { ready: false, reason: 'the queue is full' }]);
    release(workspace);
    assert.deepEqual([(await running)?.body, (await waiting).body], ['released', 'released']);
    assert.deepEqual(await ready(), [200, { ready: true }]);
    await assertServes(controller);
  });

  row('function_error', 'carries the type, message and stack of what the handler threw', async () => {
    const { controller } = await start({ functions: [obedient('obedient', 'python3')] });
    const answer = await controller.invoke('obedient', { do: 'throw' });
    assertError(answer, 'function_error', /^as asked$/);
    assert.equal(errorOf(answer)?.type, 'ValueError');
    assert.match(errorOf(answer)?.stack?.join('\n') ?? '', /do_throw/);
    await assertServes(controller);
  });

  row('vm_lost', 'when the guest breaks the protocol; says how', async () => {
    // In the Node runtime the function channel stays where it was inherited.
    const text = "exports.handle = () => { require('fs').writeSync(3, Buffer.alloc(4)); for (;;); };\n";
    const { controller } = await start({ functions: [source('rogue', 'nodejs', text)] });
    assertError(await controller.invoke('rogue', null), 'vm_lost', /rogue was lost: the guest broke the protocol/);
    await controller.until((status) => status.vms['rogue'] === undefined);
    await assertServes(controller);
  });

  row('response_too_large', 'names the limit', async () => {
    const { controller } = await start({ functions: [obedient('obedient', 'python3')] });
    assertError(await controller.invoke('obedient', { do: 'large result' }), 'response_too_large', /6291456|6 MiB/);
    await assertServes(controller);
  });

  row('vm_launch_failed', 'carries the last words of what did not come up', async () => {
    const env = (made: Workspace): NodeJS.ProcessEnv => ({ PATH: pathWithout('python3', made) });
    const { controller } = await start({ functions: [obedient('pythonic', 'python3')], env });
    const answer = await controller.invoke('pythonic', null);
    assertError(answer, 'vm_launch_failed', /status 127/);
    const { console } = errorOf(answer) as unknown as { console: string[] };
    assert.match(console.join('\n'), /python3: not found/);
    await assertServes(controller);
    assert.deepEqual((await controller.status()).memory.reserved_mib, 128);
  });

  row('shutting_down', 'while the controller drains', async () => {
    const { workspace, controller } = await start({ functions: [held('held')] });
    const [running] = await startBusy(controller, 'held', hold(workspace));
    controller.kill('SIGTERM');
    await until('it drains', async () => (await controller.status()).state === 'draining');
    assertError(await controller.invoke('bystander', null), 'shutting_down', /send .* again later/);
    release(workspace);
    assert.equal((await running)?.body, 'released');
    assert.equal(await controller.exited, 0);
  });

  row('function_timeout', 'names the timeout', async () => {
    const { controller } = await start({ functions: [obedient('obedient', 'python3', { timeout: 0.3 })] });
    assertError(await controller.invoke('obedient', { do: 'hang' }), 'function_timeout', /timeout of 0\.3 s/);
    await assertServes(controller);
  });
});

test(
  'a kernel that cannot boot is vm_launch_failed with the words of the VMM, over HTTP',
  { timeout: 60_000 },
  async () => {
    const workspace = createWorkspace([bystander]);
    const kernel = join(workspace.directory, 'vmlinux');
    writeFileSync(kernel, 'not a kernel');
    const yaml = readFileSync(workspace.config, 'utf8');
    const images = /^kernel_path: (.*)\/vmlinux$/m.exec(yaml)?.[1] ?? '';
    const broken = yaml.replace(
      /^kernel_path: .*$/m,
      `kernel_path: ${kernel}\ninitrd_path: ${join(images, 'initrd.cpio')}`,
    );
    writeFileSync(workspace.config, broken);
    const controller = await startController(workspace, { vmm: 'qemu', args: ['--accel', 'tcg'] });
    try {
      const answer = await controller.invoke('bystander', null);
      assertError(answer, 'vm_launch_failed', /qemu-system-x86_64 exited with status 1/);
      const { console } = errorOf(answer) as unknown as { console: string[] };
      assert.match(console.join('\n'), /kernel/);
      assert.equal((await controller.status()).memory.reserved_mib, 0);
    } finally {
      assert.equal(await controller.stop(), 0);
      await assertNothingLeft(workspace);
      workspace.remove();
    }
  },
);

test('each row of the table is tested here, or is one that nothing raises', () => {
  assert.deepEqual([...tested, ...Object.keys(NOT_RAISED)].sort(), Object.keys(ERROR_TABLE).sort());
});

test('rows that nothing raises are raised nowhere in the source', () => {
  const sources = readdirSync(join(PROJECT_ROOT, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => ({ name, text: readFileSync(join(PROJECT_ROOT, 'src', name), 'utf8') }));
  const raising = (code: string): string[] =>
    sources.filter(({ text }) => new RegExp(`SnapfaasError\\(\\s*'${code}'`).test(text)).map(({ name }) => name);
  assert.deepEqual(raising('unauthorized'), [], 'it is raised: test it and update the list');
  // A page that was not built is tested in `page-files.test.ts`.
  const page = 'controller/gateway/ui/page-files.ts';
  const internal = ['controller/controller.ts', page, 'protocol/errors.ts', 'protocol/invoker.ts'];
  assert.deepEqual(raising('internal').sort(), internal, 'if a client can see it, test it; else update this list');
});

function assertError(answer: Answer, code: ErrorCode, words: RegExp): void {
  const error = errorOf(answer);
  assert.equal(error?.code, code, answer.text);
  assert.equal(answer.status, ERROR_TABLE[code].httpStatus);
  assert.match(error.message, words);
  assert.match(answer.headers.get('content-type') ?? '', /^application\/json/);
  assert.equal(answer.headers.get('retry-after'), [429, 503].includes(answer.status) ? '1' : null);
}

async function assertServes(controller: RunningController): Promise<void> {
  assert.equal((await controller.invoke('bystander', null)).body, 'alive');
}

/** A PATH with the programs that SnapFaaS itself starts, but not this one. */
function pathWithout(missing: string, workspace: Workspace): string {
  const directory = join(workspace.directory, 'bin');
  mkdirSync(directory);
  for (const name of ['setpriv', 'rm'].filter((program) => program !== missing)) {
    const found = (process.env['PATH'] ?? '').split(delimiter).find((place) => readdirOrNone(place).includes(name));
    if (found !== undefined) symlinkSync(join(found, name), join(directory, name));
  }
  return directory;
}

function readdirOrNone(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
