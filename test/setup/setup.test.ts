import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { PROJECT_ROOT } from '../../src/images/project.ts';
import { controllerArguments } from '../../src/setup/controller.ts';
import { wantsProcessDriver } from '../../src/setup/setup.ts';

const GIBIBYTE = 1024 ** 3;

describe('npm start', () => {
  test('brings a configuration, memory and a port', () => {
    assert.deepEqual(controllerArguments([], undefined, 8 * GIBIBYTE), [
      ...['--config', join('resources', 'controller.yaml')],
      ...['--mem', '1024'],
      ...['--port', '8080'],
      ...['--data-dir', 'data'],
      '--watch',
    ]);
  });

  test('takes half the memory of a small host, and a port from the environment', () => {
    const argv = controllerArguments([], '9000', 1.5 * GIBIBYTE);
    assert.deepEqual(argv.slice(2), ['--mem', '768', '--port', '9000', '--data-dir', 'data', '--watch']);
    assert.deepEqual(controllerArguments([], '', 1).slice(2), [
      '--mem',
      '128',
      '--port',
      '8080',
      '--data-dir',
      'data',
      '--watch',
    ]);
  });

  test('leaves to the user what the user says', () => {
    const config = ['--config', join('resources', 'controller.yaml')];
    const memory = ['--mem', '1024'];
    const port = ['--port', '8080', '--data-dir', 'data', '--watch'];
    const cases: readonly (readonly [given: readonly string[], added: readonly string[]])[] = [
      [
        ['-c', 'own.yaml'],
        [...memory, ...port],
      ],
      [['--config=own.yaml'], [...memory, ...port]],
      [
        ['--mem', '512'],
        [...config, ...port],
      ],
      [['-p9000'], [...config, ...memory, '--data-dir', 'data', '--watch']],
      [
        ['--watch', '-p9000', '--data-dir=there'],
        [...config, ...memory],
      ],
      [
        ['--requests_file', 'requests.jsonl'],
        [...config, ...memory],
      ],
      [
        ['--vmm', 'process'],
        [...config, ...memory, ...port],
      ],
    ];
    for (const [given, added] of cases) {
      assert.deepEqual(controllerArguments(given, undefined, 8 * GIBIBYTE), [...added, ...given]);
    }
  });

  test('prepares no virtual machines for the process driver', () => {
    assert.equal(wantsProcessDriver(['--vmm', 'process']), true);
    assert.equal(wantsProcessDriver(['--vmm=process', '--mem', '256']), true);
    assert.equal(wantsProcessDriver(['--vmm', 'qemu']), false);
    assert.equal(wantsProcessDriver(['process']), false);
  });
});

describe('setup', () => {
  test('refuses an unknown mode', () => {
    const argv = ['--import', 'tsx', join('src', 'bin', 'setup.ts'), 'fly'];
    const { status, stderr } = spawnSync(process.execPath, argv, { cwd: PROJECT_ROOT, encoding: 'utf8' });
    assert.equal(status, 2);
    assert.match(stderr, /expected a mode \(start, test, bench, faults, soak, fuzz\), got "fly"/);
  });

  test('hands lines, signals and the exit status through between the terminal and its program', async () => {
    const fixture = join(import.meta.dirname, 'fixtures', 'wrapper.ts');
    const child = spawn(process.execPath, ['--import', 'tsx', fixture], { stdio: ['ignore', 'pipe', 'pipe'] });
    let seen = '';
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
    for await (const text of child.stdout.setEncoding('utf8') as AsyncIterable<string>) {
      seen += text;
      if (seen.includes('line: ready')) child.kill('SIGTERM');
    }
    if (child.exitCode === null) await once(child, 'exit');
    assert.equal(child.exitCode, 7);
    assert.match(seen, /^line: ready$/m);
    assert.match(errors, /^ready$/m);
  });
});
