/** Handlers in TypeScript, which Node runs by itself from version 22.18 on; the image has 24. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import type { Frame } from '../../src/protocol/frame.ts';
import { FrameType, type LoadRequest } from '../../src/protocol/guest.ts';
import { buildNodeRuntime, failureOf, GuestProcess, runningGuests } from '../support/guest-process.ts';

before(buildNodeRuntime);
after(() => assert.equal(runningGuests(), 0, 'every runtime that was started has ended'));

const functions: Readonly<Record<string, string>> = {
  'workload.ts': `exports.handle = (request: unknown): unknown => ['typed', request];\n`,
  'typed.ts': `exports.handler = async (event: unknown): Promise<string> => 'from ts';\n`,
  'waits.ts': `await null;\nexport const handler = async (): Promise<string> => typeof require;\n`,
  'scoped/package.json': '{"type":"module"}',
  'scoped/typed.ts': `export const handler = async (): Promise<string> => typeof require;\n`,
  'module.mts': `import { cpus } from 'node:os';\nexport const handler = async (): Promise<string> => typeof cpus;\n`,
  'common.cts': `exports.handler = async (): Promise<string> => 'from cts';\n`,
  'all.ts': `export const handler = async (): Promise<string> => 'from ts';\n`,
  'all.mts': `export const handler = async (): Promise<string> => 'from mts';\n`,
  'all.cts': `exports.handler = async (): Promise<string> => 'from cts';\n`,
  'compiled.ts': `export const handler = async (): Promise<string> => 'from ts';\n`,
  'compiled.cjs': `exports.handler = async () => 'from cjs';\n`,
  'nested.ts': `export const handler = async (): Promise<string> => 'from ts';\n`,
  'nested/index.js': `exports.handler = async () => 'from a directory';\n`,
  'not_erasable.ts': `enum Colour { Red }\nexport const handler = async () => Colour.Red;\n`,
};

async function load(handler: string): Promise<{ readonly guest: GuestProcess; readonly answer: Frame }> {
  const request: Partial<LoadRequest> = handler === 'workload.handle' ? {} : { handler: handler, style: 'lambda' };
  const guest = await GuestProcess.start('node', functions);
  return { guest, answer: await guest.load(request) };
}

suite('handlers in TypeScript', () => {
  const runsTypeScript = 'typescript' in process.features && Boolean(process.features.typescript);

  for (const [handler, result] of [
    ['workload.handle', '["typed",{}]'],
    ['typed.handler', '"from ts"'],
    ['waits.handler', '"undefined"'],
    ['scoped/typed.handler', '"undefined"'],
    ['module.handler', '"function"'],
    ['common.handler', '"from cts"'],
    ['all.handler', '"from ts"'],
    ['nested.handler', '"from ts"'],
  ] as const) {
    test(`${handler} runs, or the import says why it does not`, async () => {
      const { guest, answer } = await load(handler);
      if (runsTypeScript) {
        assert.equal(answer.type, FrameType.loaded, answer.payload.toString());
        assert.equal((await guest.invoke('{}')).payload.toString(), result);
        await guest.stop();
        return;
      }
      assert.equal(answer.type, FrameType.loadFailed);
      const { type, message } = failureOf(answer);
      assert.equal(type, 'Runtime.ImportModuleError');
      assert.match(
        message,
        /^Cannot import '[a-z/]+\.[mc]?ts': Node \d+\.\d+\.\d+ does not run TypeScript, Node 24 does$/,
      );
      await guest.remove();
    });
  }

  test('what was compiled comes first', async () => {
    const { guest, answer } = await load('compiled.handler');
    assert.equal(answer.type, FrameType.loaded, answer.payload.toString());
    assert.equal((await guest.invoke('{}')).payload.toString(), '"from cjs"');
    await guest.stop();
  });

  test(
    'syntax that cannot be erased is a syntax error',
    { skip: runsTypeScript ? false : `Node ${process.versions.node} does not run TypeScript` },
    async () => {
      const { guest, answer } = await load('not_erasable.handler');
      assert.equal(answer.type, FrameType.loadFailed);
      const { type, message, stack } = failureOf(answer);
      assert.equal(type, 'Runtime.UserCodeSyntaxError');
      assert.match(message, /^SyntaxError: TypeScript enum is not supported/);
      assert.equal(stack[0], `${type}: ${message}`);
      assert.match(stack[1] ?? '', /\/not_erasable\.ts:1$/);
      assert.equal(stack.filter((line) => line.includes('enum')).length, 2, 'the message, and the line of code');
      await guest.remove();
    },
  );
});
