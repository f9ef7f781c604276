/**
 * What every VMM has to keep, from the client's side: the same requests over HTTP against the real programs, once for each
 * driver, and once more with VMs restored from snapshots where the driver can (`contract.*.test.ts`).
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { obedient, source } from '../support/functions.ts';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  startController,
  type Answer,
  type RunningController,
  type TestFunction,
  type TestVmm,
  type Workspace,
} from '../support/snapctr.ts';

const LANGUAGES = ['python3', 'nodejs'] as const;

/** Ends the runtime or its VM, so that the next request must be a cold start. */
interface FatalCase {
  readonly behaviour: string;
  readonly codes: readonly string[];
  /** Not without a VM around it: it would harm the host. */
  readonly needsVm?: true;
}

const FATAL: readonly FatalCase[] = [
  { behaviour: 'exit', codes: ['function_error'] },
  { behaviour: 'hang', codes: ['function_timeout'] },
  { behaviour: 'close every fd', codes: ['function_error', 'vm_lost'] },
  { behaviour: 'fill memory', codes: ['function_error', 'function_timeout'], needsVm: true },
  { behaviour: 'fork', codes: ['function_error', 'function_timeout'], needsVm: true },
];

/** A timeout long enough for emulated guests to fail by themselves where they can, in s. */
const TIMEOUT_S: Readonly<Record<TestVmm, number>> = {
  ...{ process: 2, 'fake-firecracker': 2, firecracker: 6, qemu: 6 },
};

/** Of the log, told where a VM was not there that should have been. */
const RECENT_LINES = 40;
/** What runs no VM, and so cannot bear everything. */
export const WITHOUT_VM: readonly TestVmm[] = ['process', 'fake-firecracker'];

/** @param controllerKeys further lines of the controller's file. */
export function contract(vmm: TestVmm, start: 'cold' | 'restored', controllerKeys: readonly string[] = []): void {
  for (const runtime of LANGUAGES) {
    describe(`${vmm}, ${start}, ${runtime}`, () => {
      let workspace: Workspace;
      let controller: RunningController;
      const keys = { timeout: TIMEOUT_S[vmm] };
      const ask = (event: unknown, name = 'obedient'): Promise<Answer> => controller.invoke(name, event);
      const recent = (): string => controller.log.slice(-RECENT_LINES).join('\n');

      before(async () => {
        workspace = createWorkspace([obedient('obedient', runtime, keys), ...importFailures(runtime)], controllerKeys);
        controller = await startController(workspace, { vmm, snapshots: start === 'restored' });
      });

      after(async () => {
        assert.equal(await controller.stop(), 0);
        await assertNothingLeft(workspace);
        workspace.remove();
      });

      test(`the first request is a ${start} start, the next ones find the VM with its state`, async () => {
        const answers = [await ask({ do: 'count' }), await ask({ do: 'count' }), await ask({ do: 'count' })];
        assert.deepEqual(
          answers.map((answer) => answer.body),
          [1, 2, 3],
        );
        assert.deepEqual(
          answers.map((answer) => answer.headers.get('x-snapfaas-start')),
          [start, 'warm', 'warm'],
        );
        const ids = new Set(answers.map((answer) => answer.headers.get('x-snapfaas-request-id')));
        assert.equal(ids.size, 3);
      });

      test('there is one worker for each 128 MB', async () => {
        assert.equal((await controller.status()).workers.total, 8);
      });

      test('the payload comes back as it was sent', async () => {
        for (const payload of [
          '{"do":"echo","text":"äöü 💙 \\u0000"}',
          '{"do":"echo","deep":[[[{"a":[]}]]],"n":-1.5}',
        ]) {
          const answer = await controller.post(`{"function":"obedient","payload":${payload}}`);
          assert.equal(answer.status, 200, answer.text);
          assert.deepEqual(answer.body, JSON.parse(payload));
        }
      });

      test('a payload of several megabytes comes back whole', async () => {
        const text = 'äbc'.repeat(1_200_000);
        const answer = await ask({ do: 'echo', text });
        assert.equal(answer.status, 200);
        assert.equal((answer.body as { text: string }).text, text);
      });

      test('a handler that returns nothing answers null', async () => {
        const answer = await ask({ do: 'nothing' });
        assert.equal(answer.text, 'null');
        assert.equal(answer.headers.get('x-snapfaas-start'), 'warm');
      });

      test('an error of the function carries its type, message and stack, and the VM stays', async () => {
        const answer = await ask({ do: 'throw' });
        assert.equal(answer.status, 502);
        const error = errorOf(answer);
        assert.equal(error?.code, 'function_error');
        assert.equal(error.type, runtime === 'python3' ? 'ValueError' : 'TypeError');
        assert.equal(error.message, 'as asked');
        assert.match(error.stack?.join('\n') ?? '', /workload/);
        assert.equal((await ask({ do: 'nothing' })).headers.get('x-snapfaas-start'), 'warm', recent());
      });

      test('a result that is not JSON is the function’s error, and the VM stays', async () => {
        const answer = await ask({ do: 'not json' });
        assert.equal(errorOf(answer)?.code, 'function_error', answer.text);
        assert.equal((await ask({ do: 'nothing' })).headers.get('x-snapfaas-start'), 'warm', recent());
      });

      test('what an invocation leaves behind to fail later harms no other invocation', async () => {
        // In Node it ends the runtime, when the next request may be on its way already.
        for (let n = 0; n < (WITHOUT_VM.includes(vmm) ? 20 : 4); n += 1) {
          const answer = await ask({ do: 'leave an error behind', n });
          assert.deepEqual([answer.status, answer.body], [200, n], answer.text);
        }
      });

      // There a request that Python has read counts as begun: no init is there to know better.
      const knows =
        vmm !== 'process' || runtime !== 'python3' || 'without a VM a request that was read counts as begun';
      test(
        'a runtime that ends between two invocations costs no request',
        { skip: knows !== true && knows },
        async () => {
          for (let n = 0; n < (WITHOUT_VM.includes(vmm) ? 40 : 6); n += 1) {
            const answer = await ask({ do: 'leave an end behind', n });
            assert.deepEqual([answer.status, answer.body], [200, n], answer.text);
          }
          // The last end may come as late as this.
          const startOf = async (): Promise<unknown> => (await ask({ do: 'nothing' })).headers.get('x-snapfaas-start');
          for (let warm = 0, asked = 0; warm < 3 && asked < 50; asked += 1, await sleep(50)) {
            warm = (await startOf()) === 'warm' ? warm + 1 : 0;
          }
        },
      );

      test('a result over 6 MiB is response_too_large, and the VM stays', async () => {
        const answer = await ask({ do: 'large result' });
        assert.equal(answer.status, 502);
        assert.equal(errorOf(answer)?.code, 'response_too_large');
        assert.equal((await ask({ do: 'nothing' })).headers.get('x-snapfaas-start'), 'warm', recent());
      });

      test('what a function prints is in the log under its request, and nowhere else', async () => {
        const answer = await ask({ do: 'say', text: 'a word for the log' });
        assert.equal(answer.text, 'null');
        const id = answer.headers.get('x-snapfaas-request-id');
        const line = await logged(controller, (entry) => entry['text'] === 'a word for the log\n');
        assert.equal(line['request'], id);
        assert.equal(line['function'], 'obedient');
        assert.equal(line['stream'], 'stdout');
      });

      test('output that looks like frames of the protocol is only output', async () => {
        assert.equal((await ask({ do: 'frames' })).body, 'printed');
        assert.equal((await ask({ do: 'nothing' })).headers.get('x-snapfaas-start'), 'warm', recent());
      });

      test('of a megabyte of output 256 KiB are kept, with a mark', async () => {
        const answer = await ask({ do: 'megabyte' });
        assert.equal(answer.body, 'printed');
        const id = answer.headers.get('x-snapfaas-request-id');
        await logged(controller, (entry) => entry['request'] === id && /was cut/.test(String(entry['text'])));
        const entries = parsed(controller.log).filter((entry) => entry['request'] === id);
        const kept = entries
          .map((entry) => String(entry['text']))
          .join('')
          .replace(/\[snapfaas: .*\]\n/, '');
        assert.equal(kept.length, 256 * 1024);
      });

      test('an import that fails is the function’s error, again and again, and disturbs nobody', async () => {
        for (const name of ['broken-syntax', 'missing-handler', 'raises-at-import']) {
          const answer = await ask({}, name);
          assert.equal(errorOf(answer)?.code, 'function_error', `${name}: ${answer.text}`);
          assert.ok((errorOf(answer)?.message ?? '').length > 0);
        }
        assert.equal((await ask({ do: 'nothing' })).headers.get('x-snapfaas-start'), 'warm', recent());
      });

      for (const { behaviour, codes, needsVm } of FATAL) {
        const isHarmful = needsVm === true && WITHOUT_VM.includes(vmm);
        const skip = isHarmful ? 'it would harm the host: there is no VM around it' : false;
        test(`after "${behaviour}" the VM is replaced`, { skip }, async () => {
          const answer = await ask({ do: behaviour });
          assert.ok(codes.includes(errorOf(answer)?.code ?? ''), answer.text);
          const next = await ask({ do: 'nothing' });
          assert.equal(next.text, 'null');
          assert.equal(next.headers.get('x-snapfaas-start'), start);
        });
      }

      test('a client that hangs up frees the VM of its request', async () => {
        const client = new AbortController();
        const abandoned = ask({ do: 'count' }).then(() => controller.invoke('obedient', { do: 'hang' }, client.signal));
        abandoned.catch(() => undefined);
        await controller.until((status) => status.vms['obedient']?.busy === 1 && status.counters.launches > 0);
        client.abort();
        await assert.rejects(abandoned);
        const status = await controller.until((now) => (now.vms['obedient']?.busy ?? 0) === 0);
        assert.equal(status.memory.reserved_mib, status.memory.idle_mib);
      });
    });
  }
}

function importFailures(runtime: 'python3' | 'nodejs'): TestFunction[] {
  const python = runtime === 'python3';
  return [
    source('broken-syntax', runtime, python ? 'def handle(:\n' : 'exports.handle = (;\n'),
    source('missing-handler', runtime, python ? 'x = 1\n' : 'exports.other = 1;\n'),
    source(
      'raises-at-import',
      runtime,
      python ? "raise RuntimeError('at import')\n" : "throw new Error('at import');\n",
    ),
  ];
}

function parsed(log: readonly string[]): Record<string, unknown>[] {
  return log.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** The first log entry that satisfies a condition; waits for it. */
async function logged(
  controller: RunningController,
  condition: (entry: Record<string, unknown>) => boolean,
): Promise<Record<string, unknown>> {
  let found: Record<string, unknown> | undefined;
  await controller.until(() => {
    found = parsed(controller.log).find(condition);
    return found !== undefined;
  });
  assert.ok(found !== undefined);
  return found;
}
