import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { EXIT_CODE_MEANINGS, EXIT_CODES } from '../../src/firerunner/exit-codes.ts';
import { ORIGINAL_FLAGS, ORIGINAL_FLAGS_WITH_VALUE } from '../../src/firerunner/original-flags.ts';
import { obedient } from '../support/functions.ts';
import {
  assertNothingLeft,
  createWorkspace,
  FIRERUNNER,
  IMAGES,
  PROJECT_ROOT,
  run,
  type Finished,
  type Workspace,
} from '../support/snapctr.ts';

const KERNEL = join(IMAGES, 'vmlinux');
const ROOTFS = join(IMAGES, 'runtimefs/python3.ext4');
const SIZE = ['--mem_size', '128', '--vcpu_count', '1'];

describe('the command line of firerunner', { timeout: 60_000 }, () => {
  let workspace: Workspace;
  before(() => (workspace = createWorkspace([obedient('node', 'nodejs')])));
  after(async () => {
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  const runWith = (args: readonly string[], ...events: unknown[]): Promise<Finished> =>
    run(FIRERUNNER, args, { workspace, stdin: events.map((payload) => `${JSON.stringify({ payload })}\n`).join('') });

  for (const spelling of ['--mem-size', '--mem_size']) {
    test(`${spelling} is understood, with = as well`, async () => {
      const others = [
        '--vmm=process',
        '--runtime=nodejs',
        `--appfs=${join(workspace.directory, 'apps/node')}`,
        '--vcpu-count',
        '1',
      ];
      for (const size of [[spelling, '128'], [`${spelling}=128`]]) {
        const { status, stdout } = await runWith([...others, ...size], { do: 'count' });
        assert.deepEqual([status, stdout], [EXIT_CODES.ok, '1\n']);
      }
    });
  }

  test('every flag of the original that does nothing any more is accepted, with the reason', async () => {
    const app = join(workspace.directory, 'apps/node');
    const given = Object.keys(ORIGINAL_FLAGS).flatMap((flag) =>
      (ORIGINAL_FLAGS_WITH_VALUE as readonly string[]).includes(flag) ? [`--${flag}`, '100'] : [`--${flag}`],
    );
    const args = ['--vmm', 'process', '--runtime', 'nodejs', '--appfs', app, ...SIZE, ...given];
    const { status, stdout, stderr } = await runWith(args, { do: 'count' });
    assert.deepEqual([status, stdout], [EXIT_CODES.ok, '1\n'], stderr);
    for (const [flag, reason] of Object.entries(ORIGINAL_FLAGS)) {
      assert.ok(stderr.includes(`firerunner: --${flag} has no effect: ${reason}\n`), flag);
    }
  });

  for (const [what, args, words] of [
    ['a missing flag', ['--vmm', 'process', '--runtime', 'nodejs'], /--mem_size is missing; see firerunner --help/],
    ['an unknown flag', ['--memsize', '128'], /unknown option '--memsize'[^]*firerunner --help lists all options/],
    ['too little memory', ['--mem_size', '64'], /whole number of at least 128/],
    ['a bad name', ['--vmm', 'process', '--runtime', 'nodejs', ...SIZE, '--id', 'a/b'], /--id "a\/b": use 1 to 32 of/],
    ['an unknown VMM', ['--vmm', 'xen'], /Allowed choices are auto, firecracker, qemu, process/],
    ['a variable without a value', ['--vmm', 'process', '--runtime', 'nodejs', ...SIZE, '--env', 'A'], /NAME=VALUE/],
    [
      'a directory for a VM',
      ['--vmm', 'qemu', '--kernel', KERNEL, '--rootfs', ROOTFS, ...SIZE, '--appfs', '/'],
      /snapctr images app/,
    ],
  ] as const) {
    test(`${what} is said on stderr, and the exit code is 2`, async () => {
      const { status, stdout, stderr } = await runWith(args);
      assert.match(stderr, words);
      assert.deepEqual([status, stdout], [EXIT_CODES.usage, '']);
    });
  }

  test('a kernel, root or app file system that is not there is named, and the exit code is 3', async () => {
    const vm = ['--vmm', 'qemu', ...SIZE];
    for (const [flag, args] of [
      ['kernel', ['--kernel', '/nowhere/vmlinux', '--rootfs', ROOTFS]],
      ['rootfs', ['--kernel', KERNEL, '--rootfs', '/nowhere/python3.ext4']],
      ['appfs', ['--kernel', KERNEL, '--rootfs', ROOTFS, '--appfs', '/nowhere/app.ext4']],
      ['initrd', ['--kernel', KERNEL, '--initrd', '/nowhere/initrd.cpio', '--rootfs', ROOTFS]],
    ] as const) {
      const { status, stderr } = await runWith([...vm, ...args]);
      assert.match(stderr, new RegExp(`--${flag}: /nowhere/\\S+ does not exist`));
      assert.equal(status, EXIT_CODES.file_missing);
    }
  });

  test('--help names every option and every exit code', async () => {
    const { status, stdout } = await run(FIRERUNNER, ['--help']);
    assert.equal(status, 0);
    const text = readFileSync(join(PROJECT_ROOT, 'src/bin/firerunner-program.ts'), 'utf8');
    const options = [...text.matchAll(/(?:\.option\(|new Option\()\s*'(?:-\w, )?(--[\w-]+)/g)].map(
      (match) => match[1] ?? '',
    );
    assert.ok(options.length > 10);
    for (const option of options) assert.match(stdout, new RegExp(`^ .*${option}\\b`, 'm'));
    for (const meaning of Object.values(EXIT_CODE_MEANINGS)) assert.ok(stdout.includes(meaning), meaning);
  });
});
