import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { until } from '../end-to-end/processes.ts';

const LOG = fileURLToPath(new URL('../../src/controller/log.ts', import.meta.url));

function programOf(script: string): readonly string[] {
  const program = `import { createLogger, flushLog, say } from ${JSON.stringify(LOG)};
    const logger = createLogger('info'); ${script}`;
  return ['--import', 'tsx', '--input-type=module', '-e', program];
}

/** A program that logs into a file, and that is told to go on by a line; what it says on stdout, a line at a time. */
function startIntoFile(
  script: string,
  file: string,
  env: NodeJS.ProcessEnv = {},
): { readonly said: () => string; readonly goOn: () => void; readonly ended: Promise<unknown> } {
  const fd = openSync(file, 'a');
  const onLine = `import { createInterface } from 'node:readline';
    const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
    const told = () => lines.next();`;
  const node = spawn(process.execPath, programOf(`${onLine} ${script}`), {
    stdio: ['pipe', 'pipe', fd],
    env: { ...process.env, ...env },
    timeout: 30_000,
  });
  closeSync(fd);
  let text = '';
  const { stdin, stdout } = node;
  assert.ok(stdin !== null && stdout !== null);
  stdout.setEncoding('utf8').on('data', (piece: string) => (text += piece));
  return { said: () => text, goOn: () => void stdin.write('go on\n'), ended: once(node, 'close') };
}

/** A program that logs into a pipe; what it says on stdout, and what the reader of the pipe prints. */
function start(
  script: string,
  reader: string,
): { readonly said: () => string; readonly read: () => string; readonly ended: Promise<unknown> } {
  const node = [process.execPath, ...programOf(script)];
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

  test('into a file nothing is written by the thread that logs, and all of it is there at the end', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'log-sink-'));
    const file = join(directory, 'log');
    // The one thread that writes is busy until all was logged.
    const script = `import { pbkdf2 } from 'node:crypto'; import { fstatSync } from 'node:fs';
      const before = fstatSync(2).size;
      pbkdf2('a', 'b', 1_000_000, 64, 'sha512', () => undefined);
      for (let i = 0; i < 5000; i += 1) logger.info({ i }, 'logged');
      console.log(fstatSync(2).size - before);
      await told();
      for (let i = 5000; i < 10_000; i += 1) logger.info({ i }, 'logged');
      process.exit();`;
    try {
      const program = startIntoFile(script, file, { UV_THREADPOOL_SIZE: '1' });
      await until('it has logged', () => program.said().includes('\n'));
      program.goOn();
      await program.ended;
      assert.equal(program.said(), '0\n');
      const found = readFileSync(file, 'utf8').split('\n').slice(0, -1);
      const numbers = found.map((line) => (JSON.parse(line) as { readonly i: number }).i);
      assert.deepEqual(
        numbers.sort((a, b) => a - b),
        Array.from({ length: 10_000 }, (_, i) => i),
      );
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test('a file whose disk is full has what fits, and goes on when there is room', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'log-sink-'));
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', directory]).status !== 0) {
      rmSync(directory, { recursive: true });
      return t.skip('needs root and the right to mount a tmpfs');
    }
    const [file, filler] = [join(directory, 'log'), join(directory, 'filler')];
    const script = `const text = 'x'.repeat(1000);
      logger.info('before'); console.log('first'); await told();
      for (let i = 0; i < 5000; i += 1) logger.info({ i, text }, 'into a full disk');
      console.log('full'); await told();
      logger.info('with room'); await flushLog(20_000); console.log('done'); process.exit();`;
    const read = (): string => readFileSync(file, 'utf8');
    try {
      const program = startIntoFile(script, file);
      await until('it logs', () => program.said() !== '' && read().includes('before'));
      assert.throws(() => writeFileSync(filler, Buffer.alloc(512 * 1024)), { code: 'ENOSPC' });
      program.goOn();
      await until('its disk is full', () => program.said().includes('full'));
      // More than what is kept, so that it can be written, and what is left out is counted.
      assert.equal(spawnSync('mount', ['-o', 'remount,size=16m', directory]).status, 0);
      rmSync(filler);
      program.goOn();
      await program.ended;
      assert.match(program.said(), /done/);
      const lines = read()
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line) as { readonly i?: number; readonly msg: string; readonly leftOut?: number });
      const kept = lines.filter(({ i }) => i !== undefined);
      assert.deepEqual(
        kept.map(({ i }) => i),
        kept.map((_, i) => i),
      );
      assert.ok(kept.length > 1000 && kept.length < 5000, `${kept.length} lines are kept`);
      const told = lines.reduce((sum, { leftOut = 0 }) => sum + leftOut, 0);
      const withRoom = lines.filter(({ msg }) => msg === 'with room').length;
      assert.equal(kept.length + withRoom + told, 5001);
    } finally {
      assert.equal(spawnSync('umount', [directory]).status, 0);
      rmSync(directory, { recursive: true });
    }
  });
});
