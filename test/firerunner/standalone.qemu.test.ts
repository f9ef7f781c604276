import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { EXIT_CODES } from '../../src/firerunner/exit-codes.ts';
import { until } from '../end-to-end/processes.ts';
import { obedient } from '../support/functions.ts';
import { startProgram } from '../support/program.ts';
import {
  assertNothingLeft,
  createWorkspace,
  FIRERUNNER,
  IMAGES,
  run,
  SNAPCTR,
  type Finished,
  type TestFunction,
  type Workspace,
} from '../support/snapctr.ts';

const KERNEL = join(IMAGES, 'vmlinux');
const ROOTFS = join(IMAGES, 'runtimefs/python3.ext4');
const SIZE = ['--mem_size', '128', '--vcpu_count', '1'];

const CLOCKS: TestFunction = {
  name: 'clocks',
  runtime: 'python3',
  files: {
    'workload.py': `
import re, time
def handle(request):
    with open('/proc/cpuinfo') as file:
        mhz = re.search(r'cpu MHz\\s*: ([0-9.]+)', file.read())[1]
    return {'mhz': float(mhz), 'monotonic': time.monotonic()}
`,
  },
};

describe('firerunner with a real VM', { timeout: 180_000 }, () => {
  let workspace: Workspace;
  let image: string;

  before(async () => {
    workspace = createWorkspace([obedient('python', 'python3'), CLOCKS]);
    image = join(workspace.directory, 'python.ext4');
    const { status, stderr } = await run(
      SNAPCTR,
      ['images', 'app', join(workspace.directory, 'apps', 'python'), '--out', image],
      { workspace },
    );
    assert.equal(status, 0, stderr);
  });
  after(async () => {
    await assertNothingLeft(workspace);
    workspace.remove();
  });

  const vm = (): string[] => [
    ...['--vmm', 'qemu', '--kernel', KERNEL, '--rootfs', ROOTFS, '--appfs', image, ...SIZE, '--id', 'my-vm'],
  ];

  const runWith = (args: readonly string[], ...events: unknown[]): Promise<Finished> =>
    run(FIRERUNNER, args, { workspace, stdin: events.map((payload) => `${JSON.stringify({ payload })}\n`).join('') });

  test('requests in, results out, output on stderr', async () => {
    const { status, stdout, stderr } = await runWith(
      vm(),
      { do: 'count' },
      { do: 'say', text: 'from inside' },
      { do: 'count' },
    );
    assert.equal(stdout, '1\nnull\n2\n', stderr);
    assert.match(stderr, /VM my-vm is ready/);
    assert.match(stderr, /^from inside$/m);
    assert.equal(status, EXIT_CODES.ok);
  });

  test('a VM that does not come up within --boot-timeout ends with the words of its console: exit code 4', async () => {
    // Not quiet, so that the console has said something by then.
    const args = [...vm(), '--boot-timeout', '1.5', '--kernel_args', 'loglevel=7 ignore_loglevel'];
    const { status, stdout, stderr } = await runWith(args, { do: 'count' });
    assert.match(stderr, /did not come up within 1500 ms/);
    assert.match(stderr, /^firerunner: console: \S/m);
    assert.deepEqual([status, stdout], [EXIT_CODES.launch_failed, '']);
  });

  test('a file that is no kernel ends with the words of the VMM: exit code 4', async () => {
    const kernel = join(workspace.directory, 'no-kernel');
    writeFileSync(kernel, 'no kernel');
    const files = ['--kernel', kernel, '--initrd', join(IMAGES, 'initrd.cpio'), '--rootfs', ROOTFS];
    const { status, stderr } = await runWith(['--vmm', 'qemu', '--accel', 'tcg', ...files, ...SIZE], {});
    assert.match(stderr, /qemu-system-x86_64 exited with status 1/);
    assert.match(stderr, /^firerunner: console: .*kernel/m);
    assert.equal(status, EXIT_CODES.launch_failed);
  });

  test('a kernel that counted the ticks of a second wrongly keeps true time all the same', async () => {
    const clocks = join(workspace.directory, 'clocks.ext4');
    const made = await run(SNAPCTR, ['images', 'app', join(workspace.directory, 'apps', 'clocks'), '--out', clocks], {
      workspace,
    });
    assert.equal(made.status, 0, made.stderr);
    const args = [
      ...['--vmm', 'qemu', '--accel', 'tcg', '--kernel', KERNEL, '--rootfs', ROOTFS],
      '--appfs',
      clocks,
      ...SIZE,
    ];
    const first = await run(FIRERUNNER, args, { workspace, stdin: '{"payload":null}\n' });
    assert.equal(first.status, EXIT_CODES.ok, first.stderr);
    const { mhz } = JSON.parse(first.stdout) as { mhz: number };
    // As if the host had stopped the VMM while the kernel counted.
    const wrong = `tsc_early_khz=${Math.round(mhz * 1000 * 1.06)}`;
    const program = startProgram(FIRERUNNER, [...args, '--kernel_args', wrong], { workspace });
    const readings: { host: number; guest: number }[] = [];
    try {
      for (const pause of [0, 4000]) {
        await sleep(pause);
        program.write('{"payload":null}\n');
        await until('the answer', () => program.stdout.split('\n').length > readings.length + 1, 60_000);
        const { monotonic } = JSON.parse(program.stdout.split('\n')[readings.length] ?? '') as { monotonic: number };
        readings.push({ host: performance.now(), guest: monotonic * 1000 });
      }
    } finally {
      program.end();
      await program.finished;
    }
    const [from, to] = readings;
    assert.ok(from !== undefined && to !== undefined);
    const rate = (to.guest - from.guest) / (to.host - from.host);
    assert.ok(Math.abs(rate - 1) < 0.02, `a second of the guest takes ${rate} s`);
  });

  test('killed, it leaves no VMM, no socket and no directory behind', async () => {
    const program = startProgram(FIRERUNNER, vm(), { workspace });
    await until('the VM is ready', () => program.stderr.includes('is ready'), 60_000);
    program.kill('SIGKILL');
    assert.equal((await program.finished).status, 'SIGKILL');
    await assertNothingLeft(workspace, 5000);
  });
});
