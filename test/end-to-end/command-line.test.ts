import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { totalmem } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { source } from '../support/functions.ts';
import { startProgram } from '../support/program.ts';
import {
  assertNothingLeft,
  createWorkspace,
  FIRERUNNER,
  PROJECT_ROOT,
  run,
  SNAPCTR,
  type Finished,
  type Workspace,
} from '../support/snapctr.ts';
import { until } from './processes.ts';

describe('the command line of snapctr', { timeout: 120_000 }, () => {
  let workspace: Workspace;
  let requests: string;

  before(() => {
    workspace = createWorkspace([source('echo', 'nodejs', 'exports.handle = (event) => event;\n')]);
    requests = join(workspace.directory, 'requests.jsonl');
    writeFileSync(requests, '{"function":"echo","payload":"again"}\n');
  });

  after(async () => {
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  const snapctr = (...args: string[]): Promise<Finished> => run(SNAPCTR, args, { workspace });
  const usual = (): string[] => ['--config', workspace.config, '--mem', '256', '--vmm', 'process'];

  /** It ended with this status, said why in one line, and has no stack trace for its user. */
  const assertRefused = ({ status, stdout, stderr }: Finished, expected: number, words: RegExp): void => {
    assert.match(stderr, words);
    assert.doesNotMatch(stderr, /^\s+at /m);
    assert.deepEqual([status, stdout], [expected, '']);
  };

  test('neither and both of --port and --requests_file are refused with status 2', async () => {
    const words = /^snapctr: give exactly one of --port N .* and --requests_file FILE$/m;
    assertRefused(await snapctr(...usual()), 2, words);
    assertRefused(await snapctr(...usual(), '--port', '0', '--requests_file', requests), 2, words);
  });

  for (const [what, args, words] of [
    ['no --config', ['--mem', '256', '--port', '0'], /required option '-c, --config <file>' not specified/],
    ['no --mem', ['--config', 'x.yaml', '--port', '0'], /required option '--mem <mb>' not specified/],
    ['an unknown option', ['--prot', '8080'], /unknown option '--prot'\n\(Did you mean --port\?\)/],
    ['too little memory', ['--mem', '64'], /--mem <mb>.*whole number of at least 128/],
    ['memory with a unit', ['--mem', '1G'], /'1G' is invalid.*whole number/],
    ['a port that is none', ['--port', '65536'], /whole number from 0 to 65535/],
    ['an unknown VMM', ['--vmm', 'xen'], /Allowed choices are auto, firecracker, qemu, process/],
    ['an unknown log level', ['--log-level', 'loud'], /Allowed choices are trace, debug/],
    ['a time that is none', ['--drain-timeout', 'soon'], /Expected seconds, such as 30 or 0\.5/],
    [
      'a word too many',
      ['--port', '0', 'surplus'],
      /unknown command 'surplus'; there are deploy, .*, images, snapshots/,
    ],
    ['a misspelt command', ['docter'], /unknown command 'docter'; did you mean doctor\?/],
  ] as const) {
    test(`${what}: status 2, and the message says what is possible`, async () => {
      const complete = what.startsWith('no --') ? args : [...usual(), ...args];
      assertRefused(await snapctr(...complete), 2, words);
    });
  }

  test('more memory than the host has is refused with status 2 and both numbers', async () => {
    const hostMib = Math.floor(totalmem() / 1024 / 1024);
    const args = ['--config', workspace.config, '--mem', String(hostMib + 1), '--vmm', 'process', '--port', '0'];
    assertRefused(
      await snapctr(...args),
      2,
      new RegExp(`--mem ${hostMib + 1}: this host has ${hostMib} MB; give less`),
    );
  });

  test('a configuration that is not there, or wrong, is refused with status 2 and its place', async () => {
    const missing = join(workspace.directory, 'nowhere.yaml');
    assertRefused(await snapctr('-c', missing, '--mem', '256', '-p', '0'), 2, /nowhere\.yaml/);
    const wrong = join(workspace.directory, 'wrong.yaml');
    writeFileSync(wrong, `${readFileSync(workspace.config, 'utf8')}kernel_pth: x\n`);
    assertRefused(await snapctr('-c', wrong, '--mem', '256', '-p', '0'), 2, /wrong\.yaml:\d+:\d+: .*kernel_pth/);
  });

  // Each with what it takes, all of which the message shows, and with what it needs to come so far.
  for (const [command, takes, needed] of [
    ['images build', '[options] [what]', ['kernel']],
    ['images verify', '[options] [what]', ['kernel']],
    ['images app', '[options] <dir>', ['x', '--out', 'y']],
    ['snapshots build', '[options]', ['--config', 'x']],
    ['snapshots list', '[options]', []],
    ['snapshots verify', '[options]', []],
    ['snapshots prune', '[options]', ['--config', 'x']],
    ['network up', '[options]', ['--config', 'x']],
    ['network status', '[options]', ['--config', 'x']],
    ['network down', '[options]', ['--config', 'x']],
    ['doctor', '[options]', []],
  ] as const) {
    test(`${command}: what it does not know is refused with status 2 and what it takes`, async () => {
      const words = [...command.split(' '), ...needed];
      const refused = async (last: string, problem: string): Promise<void> => {
        const usage = `usage: snapctr ${command} ${takes}`;
        const finished = await snapctr(...words, last);
        assertRefused(finished, 2, new RegExp(`^error: ${problem}`));
        assert.ok(finished.stderr.trimEnd().endsWith(usage), finished.stderr);
      };
      await Promise.all([
        refused('surplus', `snapctr ${command} does not take 'surplus'`),
        refused('--surplus', "unknown option '--surplus'"),
      ]);
    });
  }

  test('what a subcommand lacks, or takes for wrong, is refused with status 2 as well', async () => {
    assertRefused(await snapctr('images', 'build', 'kernl'), 2, /'kernl' is invalid.* Allowed choices are kernel/);
    assertRefused(await snapctr('images', 'build', 'kernel', 'python3', 'x'), 2, /does not take 'python3' 'x'\n/);
    assertRefused(await snapctr('images', 'build', '--out'), 2, /'--out <dir>' argument missing\nusage: /);
    assertRefused(await snapctr('images', 'bild'), 2, /unknown command 'bild'\n\(Did you mean build\?\)/);
    assertRefused(await snapctr('images', 'app', 'x'), 2, /required option '--out <file>'/);
    assertRefused(await snapctr('images', 'app', '--out', 'x'), 2, /missing required argument 'dir'/);
  });

  test('names that a script left empty, and what cannot be an alias, are refused before anything is asked', async () => {
    const empty = [
      ['delete', ''],
      ['delete', 'hello', '--qualifier', ''],
      ['invoke', ''],
      ['versions', ''],
      ['logs', ''],
      ['alias', 'set', '', 'live', '1'],
      ['schedule', 'remove', 'hello', ''],
    ];
    const noAlias = [
      ['deploy', '.', '--alias', '$LATEST'],
      ['deploy', '.', '--alias', '12'],
      ['alias', 'set', 'hello', '', '1'],
    ];
    const tried = async (words: readonly string[], message: RegExp): Promise<void> =>
      assertRefused(await snapctr(...words, '--endpoint', 'http://127.0.0.1:9'), 2, message);
    for (const words of empty) await tried(words, /Expected a name; it is empty\./);
    for (const words of noAlias)
      await tried(words, /Expected up to 128 letters, digits, "-" or "_", and not digits alone/);
  });

  test('a port that is taken: status 1, and what to do', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const words = new RegExp(
      `^snapctr: cannot listen on 127\\.0\\.0\\.1:${port}: port ${port} is taken; .*--port`,
      'm',
    );
    assertRefused(await snapctr(...usual(), '--port', String(port)), 1, words);
    taken.close();
    await assertNothingLeft(workspace);
  });

  test('a request file or an output that cannot be opened: status 1, and which', async () => {
    const missing = join(workspace.directory, 'nowhere.jsonl');
    assertRefused(
      await snapctr(...usual(), '--requests_file', missing),
      1,
      /cannot read requests from .*nowhere\.jsonl/,
    );
    const output = join(workspace.directory, 'nowhere', 'results.jsonl');
    const words = /cannot write results to .*nowhere\/results\.jsonl: there is no such/;
    assertRefused(await snapctr(...usual(), '--requests_file', requests, '--output', output), 1, words);
    await assertNothingLeft(workspace);
  });

  for (const [file, level] of [
    ['--requests_file', '--log_level'],
    ['--requests-file', '--log-level'],
  ] as const) {
    test(`${file} and ${level} are understood, with = as well`, async () => {
      for (const args of [
        [file, requests, level, 'warn'],
        [`${file}=${requests}`, `${level}=warn`],
      ]) {
        const { status, stdout, stderr } = await snapctr(...usual(), ...args);
        assert.equal(status, 0, stderr);
        assert.match(stdout, /^\{"index":0,.*"status":"ok","response":"again"/);
        assert.doesNotMatch(stderr, /"level":"info"/);
      }
    });
  }

  test('the short forms -c and -p: it says where it listens, and serves', async () => {
    const args = ['-c', workspace.config, '--mem', '256', '--vmm', 'process', '-p', '0', '--host', '::1'];
    const program = startProgram(SNAPCTR, args, { workspace });
    await until('it listens', () => /^listening on http:\/\/\[::1\]:\d+$/m.test(program.stderr));
    const url = /^listening on (.*)$/m.exec(program.stderr)?.[1] ?? '';
    assert.equal((await fetch(`${url}/healthz`)).status, 200);
    program.kill('SIGTERM');
    assert.equal((await program.finished).status, 0);
  });

  test('--help names every option and subcommand, with examples; --version tells the version', async () => {
    const { status, stdout } = await snapctr('--help');
    assert.equal(status, 0);
    const text = readFileSync(join(PROJECT_ROOT, 'src/bin/snapctr-program.ts'), 'utf8');
    const options = [...text.matchAll(/ption\(\s*'(?:-\w, )?(--[\w-]+)/g)].map((match) => match[1] ?? '');
    assert.ok(options.length >= 11, options.join());
    for (const option of options) assert.match(stdout, new RegExp(`^ .*${option}\\b`, 'm'));
    const [, commands = ''] = /^Commands:\n((?: .*\n)+)/m.exec(stdout) ?? [];
    for (const command of ['deploy', 'logs', 'images', 'keys', 'completion']) {
      assert.match(commands, new RegExp(`^ {2}${command}\\b`, 'm'));
    }
    assert.ok((stdout.match(/^ {4}\$ snapctr /gm) ?? []).length >= 3);
    assert.match(stdout, /Exit status: 0 .*; 1 .*; 2 /);
    const images = await snapctr('images', '--help');
    assert.equal(images.status, 0);
    for (const command of ['build', 'app', 'verify']) assert.match(images.stdout, new RegExp(`^ +${command}\\b`, 'm'));
    const manifest = JSON.parse(readFileSync(join(PROJECT_ROOT, 'package.json'), 'utf8')) as { version: string };
    assert.equal((await snapctr('--version')).stdout, `${manifest.version}\n`);
  });
});

for (const program of [SNAPCTR, FIRERUNNER]) {
  for (const descriptors of [30, 64, 255]) {
    test(`${basename(program, '.js')}: a limit of ${descriptors} open files is told in a sentence`, () => {
      const { status, stderr } = spawnSync(
        '/bin/sh',
        ['-c', `ulimit -n ${descriptors}; exec "$@"`, 'sh', process.execPath, program, '--help'],
        {
          encoding: 'utf8',
        },
      );
      assert.notEqual(status, 0);
      assert.match(
        stderr,
        new RegExp(`^\\w+: a process may open only ${descriptors} files here, .*ulimit -n 4096\\n$`),
      );
    });
  }
}
