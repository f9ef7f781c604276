/** The completion of shells: what the printed script offers for the words that were typed so far. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { before, describe, test } from 'node:test';
import { PROJECT_ROOT, run, SNAPCTR } from '../support/snapctr.ts';

/** Sources a script, types words of which the last is unfinished, and prints what is offered. */
const BASH = 'source <(cat); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _snapctr; printf "%s\\n" "${COMPREPLY[@]}"';
const noBash = spawnSync('bash', ['--version']).error === undefined ? false : 'bash is not installed';
const noZsh = spawnSync('zsh', ['--version']).error === undefined ? false : 'zsh is not installed';

describe('completion for bash', { skip: noBash }, () => {
  let script: string;

  before(async () => {
    const { status, stdout, stderr } = await run(SNAPCTR, ['completion', 'bash']);
    assert.equal(status, 0, stderr);
    script = stdout;
  });

  /** What is offered, in its order. */
  function offered(...words: readonly string[]): readonly string[] {
    const argv = ['--norc', '--noprofile', '-c', BASH, 'bash', 'snapctr', ...words];
    const { stdout, stderr, status } = spawnSync('bash', argv, { input: script, encoding: 'utf8', cwd: PROJECT_ROOT });
    assert.deepEqual([status, stderr], [0, '']);
    return stdout.split('\n').filter((line) => line !== '');
  }

  for (const [what, words, expected] of [
    ['a command', ['inv'], ['invoke']],
    ['several commands', ['de'], ['deploy', 'describe', 'delete', 'dev']],
    ['a command of a command', ['keys', 'a'], ['add']],
    ['all of them', ['alias', ''], ['set', 'list', 'remove', '--help']],
    ['an option of a command', ['invoke', 'hello', '--pay'], ['--payload']],
    ['an option two levels down', ['alias', 'set', 'hello', 'live', '2', '--we'], ['--weight']],
    ['what an argument may be', ['completion', 'b'], ['bash']],
    ['an option of the controller', ['--tls'], ['--tls-cert', '--tls-key']],
    ['files, where no word fits', ['deploy', 'exampl'], ['examples']],
  ] as const) {
    test(`${what}: snapctr ${words.join(' ')}`, () => {
      const found = offered(...words);
      assert.deepEqual([...found].sort(), [...expected].sort());
    });
  }

  test('the shell knows whom to ask', () => {
    const lines = 'source <(cat); complete -p snapctr';
    const { stdout } = spawnSync('bash', ['--norc', '-c', lines], { input: script, encoding: 'utf8' });
    assert.match(stdout, /^complete .*-F _snapctr snapctr$/m);
  });

  test('every command that there is has its words', async () => {
    const { stdout } = await run(SNAPCTR, ['--help']);
    const [, commands = ''] = /^Commands:\n((?: .*\n)+)/m.exec(stdout) ?? [];
    const names = [...commands.matchAll(/^ {2}([a-z]+)\b/gm)].map(([, name = '']) => name);
    assert.ok(names.length > 20, names.join());
    for (const name of names) assert.ok(offered(name.slice(0, -1)).includes(name), name);
    for (const name of names.filter((one) => one !== 'help')) assert.ok(offered(name, '--he').includes('--help'), name);
  });
});

test('completion for zsh: the script is sourced without a complaint', { skip: noZsh }, async () => {
  const { stdout: script } = await run(SNAPCTR, ['completion', 'zsh']);
  const lines = 'autoload -U compinit && compinit -u -D; source <(cat); whence -w _snapctr';
  const { stdout, stderr, status } = spawnSync('zsh', ['-f', '-c', lines], { input: script, encoding: 'utf8' });
  assert.deepEqual([status, stderr, stdout], [0, '', '_snapctr: function\n']);
});
