/**
 * Functions that bring a program for the Runtime API, from the client's side: what becomes of it, whatever it does. The same
 * over each driver (`runtime-api.*.test.ts`).
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { bootstrap, noCompiler, shellBootstrap } from '../support/bootstrap.ts';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  startController,
  type Answer,
  type RunningController,
  type TestVmm,
  type Workspace,
} from '../support/snapctr.ts';

const TIMEOUT_S: Readonly<Record<TestVmm, number>> = {
  ...{ process: 3, 'fake-firecracker': 3, firecracker: 6, qemu: 8 },
};

/** One answer each: its status, its body or what the error says. The VM stays. */
const ANSWERS: readonly (readonly [event: Readonly<Record<string, unknown>>, status: number, said: unknown])[] = [
  [{ do: 'echo', text: 'äöü 💙 \u0000', deep: [[{ a: [] }]], n: -1.5 }, 200, 'the event'],
  [{ do: 'nothing' }, 200, null],
  [{ do: 'throw' }, 502, { code: 'function_error', type: 'Custom.Error', message: 'as asked', stack: ['at main'] }],
  [{ do: 'not json' }, 502, { code: 'function_error', type: 'Runtime.MarshalError' }],
  [{ do: 'large result' }, 502, { code: 'response_too_large' }],
  [{ do: 'twice' }, 200, 1],
  [{ do: 'unknown id' }, 200, 400],
  [{ do: 'ask without an answer' }, 200, 403],
  [{ do: 'no HTTP' }, 200, 400],
  [{ do: 'wrong paths' }, 200, 404405],
  [{ do: 'break off' }, 200, 'whole'],
  [{ do: 'megabyte' }, 200, 'printed'],
  [{ do: 'stream with an error' }, 502, { code: 'function_error', type: 'Late', message: 'too late' }],
];

/** The program ends, or its VM is ended: what the caller hears. */
const ENDS: readonly (readonly [behaviour: string, code: string, message: RegExp])[] = [
  ['exit', 'function_error', /exit status 3/],
  ['crash', 'function_error', /signal 11/],
  ['hang', 'function_timeout', /./],
  ['fork away', 'function_error', /exit status 0/],
];

/** The program never gets as far as an event. */
const BAD_STARTS: readonly (readonly [name: string, type: string, message: RegExp])[] = [
  ['exits', 'Runtime.ExitError', /exit status 7/],
  ['fails', 'Init.Error', /cannot begin/],
  ['forks', 'Runtime.ExitError', /exit status 0/],
  ['no-interpreter', 'Runtime.InvalidEntrypoint', /first line has to name a program/],
];

export function runtimeApi(vmm: TestVmm, start: 'cold' | 'restored'): void {
  describe(`the Runtime API: ${vmm}, ${start}`, { skip: noCompiler }, () => {
    let workspace: Workspace;
    let controller: RunningController;
    const ask = (event: unknown, name = 'good'): Promise<Answer> => controller.invoke(name, event);
    const startOf = (answer: Answer): string | null => answer.headers.get('x-snapfaas-start');

    before(async () => {
      const keys = { timeout: TIMEOUT_S[vmm] };
      workspace = createWorkspace([
        bootstrap('good', 'index.handler', keys),
        bootstrap('shell', 'bootstrap', keys, shellBootstrap('shell')),
        bootstrap('restores', 'restores'),
        ...BAD_STARTS.slice(0, 3).map(([name]) => bootstrap(name, name)),
        bootstrap('no-interpreter', 'bootstrap', {}, '#!/usr/bin/no-such-program\n'),
      ]);
      controller = await startController(workspace, { vmm, snapshots: start === 'restored' });
    });

    after(async () => {
      assert.equal(await controller.stop(), 0);
      await assertNothingLeft(workspace);
      workspace.remove();
    });

    test(`the first request is a ${start} start, the next ones find the program with its state`, async () => {
      const answers = [await ask({ do: 'count' }), await ask({ do: 'count' }), await ask({ do: 'count' })];
      assert.deepEqual(
        answers.map((answer) => [answer.text, startOf(answer)]),
        [
          ['1', start],
          ['2', 'warm'],
          ['3', 'warm'],
        ],
      );
    });

    test('a script of the shell needs no other program', async () => {
      for (const n of [1, 2]) assert.deepEqual((await ask({ n }, 'shell')).body, { shell: { n } });
    });

    for (const [event, status, said] of ANSWERS) {
      test(`"${String(event['do'])}" has its answer, and the VM stays`, async () => {
        const answer = await ask(event);
        assert.equal(answer.status, status, answer.text);
        const error = errorOf(answer);
        if (status === 200) assert.deepEqual(answer.body, said === 'the event' ? event : said);
        else assert.deepEqual({ ...error, ...(said as object) }, error);
        assert.equal(startOf(await ask({ do: 'count' })), 'warm');
      });
    }

    test('an event of several megabytes comes back whole', async () => {
      const text = 'äbc'.repeat(1_200_000);
      assert.equal(((await ask({ do: 'echo', text })).body as { text: string }).text, text);
    });

    test('the headers of an event are those of AWS', async () => {
      const answer = await ask({ do: 'headers' });
      const id = answer.headers.get('x-snapfaas-request-id') ?? '';
      const head = answer.body as string;
      assert.match(head, new RegExp(`^Lambda-Runtime-Aws-Request-Id: ${id}\r$`, 'm'));
      assert.match(head, /^Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:[^ ]+:function:good\r$/m);
      const [, deadline] = /^Lambda-Runtime-Deadline-Ms: (\d+)\r$/m.exec(head) ?? [];
      const leftMs = Number(deadline) - Date.now();
      assert.ok(leftMs > 0 && leftMs <= TIMEOUT_S[vmm] * 1000 + 1000, String(leftMs));
    });

    test('the environment is that of AWS', async () => {
      const variable = async (name: string): Promise<unknown> => (await ask({ do: 'variable', name })).body;
      assert.match(String(await variable('AWS_LAMBDA_RUNTIME_API')), /^127\.0\.0\.1:\d+$/);
      assert.equal(await variable('_HANDLER'), 'index.handler');
      assert.equal(await variable('AWS_LAMBDA_FUNCTION_NAME'), 'good');
      const type = start === 'restored' ? 'snap-start' : 'on-demand';
      assert.equal(await variable('AWS_LAMBDA_INITIALIZATION_TYPE'), type);
      if (vmm === 'qemu') assert.equal(await variable('LAMBDA_TASK_ROOT'), '/var/task');
    });

    test('what it prints is in the log under its request, after the answer as well', async () => {
      const answer = await ask({ do: 'say', text: 'a word' });
      const id = answer.headers.get('x-snapfaas-request-id');
      const printed = (): string =>
        controller.log
          .filter((line) => line.startsWith('{'))
          .map((line) => JSON.parse(line) as Record<string, unknown>)
          .filter((entry) => entry['request'] === id)
          .map((entry) => (typeof entry['text'] === 'string' ? entry['text'] : ''))
          .join('');
      await controller.until(() => printed().includes('afterwards'));
      assert.equal(printed(), 'a word\na word afterwards\n');
    });

    test('a program that waits for a restore goes on after it', async () => {
      assert.equal((await ask({ do: 'count' }, 'restores')).text, '1');
    });

    for (const [behaviour, code, message] of ENDS) {
      test(`after "${behaviour}" the VM is replaced`, async () => {
        const error = errorOf(await ask({ do: behaviour }));
        assert.ok(error);
        assert.equal(error.code, code, JSON.stringify(error));
        assert.match(error.message, message);
        assert.equal(startOf(await ask({ do: 'count' })), start);
      });
    }

    test('a program that ends between two invocations costs no request', async () => {
      for (let n = 0; n < (vmm === 'process' ? 20 : 4); n += 1) {
        const answer = await ask({ do: 'leave an end behind', n });
        assert.deepEqual([answer.status, answer.body], [200, n], answer.text);
      }
    });

    test('one that cannot begin is the function’s error, which says what to change', async () => {
      for (const [name, type, message] of BAD_STARTS) {
        const error = errorOf(await ask({}, name));
        assert.deepEqual([error?.code, error?.type], ['function_error', type], `${name}: ${JSON.stringify(error)}`);
        assert.match(error?.message ?? '', message);
      }
    });
  });
}
