/**
 * Functions that bring AWS's public library of their language for the Runtime API, unchanged: what their callers see, which is the same
 * in every language but for the names of errors. The same over each driver (`languages.*.test.ts`).
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { builtFunction, LANGUAGES, whyWithoutLanguage, type Language } from '../support/languages.ts';
import {
  assertNothingLeft,
  createWorkspace,
  errorOf,
  PROJECT_ROOT,
  startController,
  type Answer,
  type RunningController,
  type TestVmm,
  type Workspace,
} from '../support/snapctr.ts';

/** How the library tells of an error that the handler returns or throws, and of a panic. */
const ERRORS: Readonly<Record<Language, { readonly fail: RegExp; readonly panic: RegExp }>> = {
  java: { fail: /^java\.lang\.IllegalStateException$/, panic: /^java\.lang\.StackOverflowError$/ },
  go: { fail: /^errorString$/, panic: /^string$/ },
  rust: { fail: /Error|String/, panic: /Any/ },
  node: { fail: /^TypeError$/, panic: /^string$/ },
};
const HANDLERS: Readonly<Record<Language, string>> = {
  ...{ go: 'bootstrap', rust: 'bootstrap', java: 'example.Asked::handleRequest', node: 'index.handler' },
};
const MEMORY_MIB: Readonly<Record<Language, number>> = { go: 128, rust: 128, java: 384, node: 256 };

/** In the others there is a runtime, which brings the client. */
function hasExample(language: Language): boolean {
  return language === 'go' || language === 'rust';
}

export function languages(vmm: TestVmm, start: 'cold' | 'restored'): void {
  for (const language of LANGUAGES) {
    describe(`AWS's library for ${language}: ${vmm}, ${start}`, { skip: whyWithoutLanguage(language) }, () => {
      let workspace: Workspace;
      let controller: RunningController;
      const ask = (event: unknown): Promise<Answer> => controller.invoke('asked', event);
      const startOf = (answer: Answer): string | null => answer.headers.get('x-snapfaas-start');

      before(async () => {
        const asked = { name: 'asked', handler: HANDLERS[language], files: await builtFunction(language) };
        const directory = join(PROJECT_ROOT, 'examples', `${language}-hello`);
        const example = !hasExample(language)
          ? []
          : [
              {
                name: 'example',
                handler: 'bootstrap',
                files: await builtFunction(language, directory),
              },
            ];
        workspace = createWorkspace(
          [asked, ...example].map(({ name, handler, files }) => ({
            ...{
              name,
              runtime: 'provided',
              files,
              keys: { handler, timeout: 20, memory: MEMORY_MIB[language] },
            },
          })),
        );
        controller = await startController(workspace, { vmm, snapshots: start === 'restored' });
      });

      after(async () => {
        assert.equal(await controller.stop(), 0);
        await assertNothingLeft(workspace);
        workspace.remove();
      });

      test(`the first request is a ${start} start, and the next ones find its state`, async () => {
        const answers = [await ask({ do: 'count' }), await ask({ do: 'count' }), await ask({ do: 'count' })];
        assert.deepEqual(
          answers.map((answer) => [answer.status, answer.body, startOf(answer)]),
          [
            [200, 1, start],
            [200, 2, 'warm'],
            [200, 3, 'warm'],
          ],
        );
      });

      test('the event comes back as it was', async () => {
        const event = { do: 'echo', text: 'äöü 💙 \u0000 </script>', deep: [[{ a: [], b: {} }]], n: -1.5, t: true };
        assert.deepEqual((await ask(event)).body, event);
        const large = { do: 'echo', text: 'äbc'.repeat(1_000_000) };
        assert.deepEqual((await ask(large)).body, large);
        assert.equal((await ask({ do: 'nothing' })).text, 'null');
      });

      test('it knows its request, its name and until when it has', async () => {
        const before = Date.now();
        const answer = await ask({ do: 'about' });
        const { request, arn, deadline } = answer.body as { request: string; arn: string; deadline: number };
        assert.equal(request, answer.headers.get('x-snapfaas-request-id'));
        assert.match(arn, /^arn:aws:lambda:[^ ]+:function:asked$/);
        assert.ok(deadline > before + 10_000 && deadline <= Date.now() + 21_000, `${deadline - before} ms`);
      });

      test('what it prints is told with its request', async () => {
        const id = (await ask({ do: 'print' })).headers.get('x-snapfaas-request-id') ?? '';
        const deadline = Date.now() + 10_000;
        while (!controller.log.some((line) => line.includes('printed as asked') && line.includes(id))) {
          assert.ok(Date.now() < deadline, 'it is logged');
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      });

      test('an error of the handler is the function’s, and it goes on', async () => {
        const answer = await ask({ do: 'fail' });
        const error = errorOf(answer);
        assert.deepEqual([answer.status, error?.code, error?.message], [502, 'function_error', 'failed as asked']);
        assert.match(error?.type ?? '', ERRORS[language].fail);
        assert.equal(startOf(await ask({ do: 'nothing' })), 'warm');
      });

      test('a panic is told by its message; the next request is answered', async () => {
        const error = errorOf(await ask({ do: 'panic' }));
        assert.equal(error?.code, 'function_error');
        assert.match(error.message, /panicked as asked/);
        assert.match(error.type ?? '', ERRORS[language].panic);
        assert.equal((await ask({ do: 'nothing' })).status, 200);
      });

      test('a process that ends, and a result that is too large: the next request is answered', async () => {
        const ended = errorOf(await ask({ do: 'exit' }));
        assert.deepEqual([ended?.code, ended?.type], ['function_error', 'Runtime.ExitError']);
        assert.match(ended?.message ?? '', /exit status 3/);
        const large = await ask({ do: 'large' });
        assert.equal(errorOf(large)?.code, 'response_too_large', large.text);
        assert.equal((await ask({ do: 'nothing' })).status, 200);
      });

      const skip = hasExample(language)
        ? false
        : 'functions of it need no client of their own, and its examples have none';
      test('its example says hello', { skip }, async () => {
        const file = join(PROJECT_ROOT, 'examples', `${language}-hello`, 'request.json');
        const { payload } = JSON.parse(readFileSync(file, 'utf8')) as { payload: unknown };
        const answer = await controller.invoke('example', payload);
        const request = answer.headers.get('x-snapfaas-request-id');
        assert.deepEqual(answer.body, { greeting: 'Hello, Ada', request });
        assert.match(errorOf(await controller.invoke('example', {}))?.message ?? '', /the event has no name/);
      });
    });
  }
}
