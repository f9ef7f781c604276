import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { until } from '../end-to-end/processes.ts';

const LOG = fileURLToPath(new URL('../../src/controller/log.ts', import.meta.url));

/** A program that logs into a pipe; what it says on stdout, and what the reader of the pipe prints. */
function start(
  script: string,
  reader: string,
): { readonly said: () => string; readonly read: () => string; readonly ended: Promise<unknown> } {
  const program = `import { createLogger, flushLog, say } from ${JSON.stringify(LOG)};
    const logger = createLogger('info'); ${script}`;
  const node = [process.execPath, '--import', 'tsx', '--input-type=module', '-e', program];
  const shell = spawn('/bin/bash', ['-c', `"$@" 2>&1 >&3 | { ${reader}; } 3>&-`, 'bash', ...node], {
    stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
  });
  const outputs = [shell.stdio[3], shell.stdout].map((stream) => {
    let text = '';
    (stream as Readable).setEncoding('utf8').on('data', (piece: string) => (text += piece));
    return () => text;
  });
  return { said: () => outputs[0]?.() ?? '', read: () => outputs[1]?.() ?? '', ended: once(shell, 'close') };
}

const FLOOD = `
  const text = 'x'.repeat(1000);
  for (let i = 0; i < 20_000; i += 1) logger.info({ i, text }, 'function output');
  logger.error('this is kept');
  await flushLog(100);
  console.log('not blocked');`;

describe('the log', { timeout: 60_000 }, () => {
  test('a reader that does not read stops nobody, and the program ends', async () => {
    const program = start(`${FLOOD} process.exit();`, 'sleep 5');
    await until('it goes on', () => program.said().includes('not blocked'));
    await program.ended;
  });

  test('what is left out is counted; what matters most and what fits is there', async () => {
    const program = start(`${FLOOD} await flushLog(20_000); process.exit();`, 'sleep 2; cat');
    await program.ended;
    const lines = program
      .read()
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as { i?: number; msg: string; leftOut?: number });
    const kept = lines.filter((line) => line.i !== undefined);
    assert.deepEqual(
      kept.map((line) => line.i),
      kept.map((_, i) => i),
      'the first ones, in their order',
    );
    assert.ok(kept.length > 1000 && kept.length < 4000, `${kept.length} lines are kept`);
    assert.equal(lines.filter((line) => line.msg === 'this is kept').length, 1);
    assert.equal(lines.at(-1)?.leftOut, 20_000 - kept.length);
  });

  test('with a reader that reads nothing is lost', async () => {
    const program = start(`${FLOOD.replaceAll('20_000', '1000')} await flushLog(20_000); process.exit();`, 'cat');
    await program.ended;
    assert.equal(program.read().split('"msg":"function output"').length - 1, 1000);
  });

  test('a reader that is gone is no error', async () => {
    const program = start(
      `setTimeout(() => { logger.info('a'); say('b'); console.log('goes on'); process.exit(); }, 500);`,
      'true',
    );
    await program.ended;
    assert.match(program.said(), /goes on/);
  });
});
