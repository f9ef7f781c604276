import assert from 'node:assert/strict';
import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join, relative } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { findFirecracker } from '../../../src/firerunner/firecracker/installation.ts';
import { UnusableProgramError, versionLine } from '../../../src/firerunner/programs/program-version.ts';
import type { JailerSettings } from '../../../src/protocol/vmm-settings.ts';
import { createStandIns, elfHeader, pathWith, type StandIns } from '../../support/stand-in.ts';

/** `e_machine` of AArch64 and of x86-64. */
const [AARCH64, X86_64] = [183, 62];
const FOREIGN = process.arch === 'x64' ? { machine: AARCH64, name: 'arm64' } : { machine: X86_64, name: 'x64' };

describe('Firecracker installation', { timeout: 30_000 }, () => {
  const path = process.env['PATH'];
  let bin: StandIns;
  beforeEach(() => {
    bin = createStandIns();
    process.env['PATH'] = pathWith(bin.directory);
  });
  afterEach(() => {
    process.env['PATH'] = path;
    bin.remove();
  });

  const jailer = (at: string | null): JailerSettings => ({
    path: at,
    firstUid: 100_000,
    uidCount: 10,
    gid: null,
    chrootBase: '/srv/jail',
    cgroup: {},
  });
  const firecrackerAt = (at: string): Promise<unknown> => findFirecracker({ path: at, prestarted: 0 }, null);
  const refusal = async (attempt: Promise<unknown>, finding: RegExp, remedy: RegExp): Promise<void> => {
    await assert.rejects(attempt, (error: unknown) => {
      assert.ok(error instanceof UnusableProgramError, String(error));
      assert.match(error.finding, finding);
      assert.match(error.remedy, remedy);
      assert.equal(error.message, `${error.finding}; ${error.remedy}`);
      return true;
    });
  };

  test('takes what is in PATH, with its version', async () => {
    const program = bin.add('firecracker', 'echo "Firecracker v1.16.1"; echo; echo "exit status 0"');
    assert.deepEqual(await findFirecracker(null, null), { path: program, version: '1.16.1', jailerPath: null });
  });

  test('relative paths are made absolute: VMMs start in other directories', async () => {
    const program = bin.add('firecracker', 'echo "Firecracker v1.16.1"');
    const own = bin.add('jailer', 'echo "Jailer v1.16.1"');
    const [relativeProgram, relativeJailer] = [program, own].map((one) => relative(process.cwd(), one));
    assert.ok(relativeProgram !== undefined && relativeJailer !== undefined);
    const settings = { path: relativeProgram, prestarted: 0 };
    assert.equal((await findFirecracker(settings, null)).path, program);
    assert.deepEqual(await findFirecracker(settings, jailer(relativeJailer)), {
      ...{ path: program, version: '1.16.1', jailerPath: own },
    });
    process.env['PATH'] = pathWith(relative(process.cwd(), bin.directory));
    assert.equal((await findFirecracker(null, null)).path, program);
  });

  test('a file that may not be executed, and a directory, are not in PATH', async () => {
    bin.add('firecracker', 'echo "Firecracker v1.16.1"', { executable: false });
    const other = createStandIns();
    mkdirSync(join(other.directory, 'firecracker'));
    process.env['PATH'] = `${bin.directory}:${other.directory}`;
    await refusal(findFirecracker(null, null), /^firecracker is not in PATH$/, /install version 1\.16\.1 or newer/);
    other.remove();
  });

  for (const [version, isTaken] of [
    ['1.16.1', true],
    ['1.16.12', true],
    ['1.17.0', true],
    ['2.0.0', true],
    ['1.16.0', false],
    ['1.9.9', false],
    ['0.25.2', false],
  ] as const) {
    test(`version ${version} is ${isTaken ? 'taken' : 'refused as too old'}`, async () => {
      bin.add('firecracker', `echo "Firecracker v${version}"`);
      if (isTaken) assert.equal((await findFirecracker(null, null)).version, version);
      else
        await refusal(
          findFirecracker(null, null),
          new RegExp(`is Firecracker ${version}; 1\\.16\\.1 or newer is needed: .*vsock`),
          /install a newer release/,
        );
    });
  }

  test('a program that is not there, may not be run, is another one, or fails: each is said', async () => {
    await refusal(firecrackerAt(join(bin.directory, 'none')), /\/none does not exist/, /correct the path/);
    const locked = bin.add('locked', 'exit 0', { executable: false });
    await refusal(firecrackerAt(locked), /\/locked may not be executed/, /chmod \+x .*\/locked/);
    const other = bin.add('other', 'echo "QEMU emulator version 7.2"');
    await refusal(firecrackerAt(other), /says "QEMU emulator version 7\.2" instead of "Firecracker v…"/, /release/);
    const broken = bin.add('broken', 'echo one >&2; echo "no such library" >&2; exit 127');
    await refusal(firecrackerAt(broken), /--version failed: no such library$/, /install it again/);
  });

  test('a program for another machine is named as such', async () => {
    const foreign = bin.addBytes('firecracker', elfHeader(FOREIGN.machine));
    await refusal(
      findFirecracker(null, null),
      new RegExp(
        `^${foreign} does not run on this machine: it is a program for another processor \\(${FOREIGN.name}, not ${process.arch}\\)$`,
      ),
      new RegExp(`install the release for ${process.arch}`),
    );
  });

  test('a program that hangs is killed after the limit, even if it ignores SIGTERM', async () => {
    const hanging = bin.add('hanging', 'trap "" TERM; exec tail -f /dev/null');
    await refusal(versionLine(hanging, 200), /--version did not answer within 200 ms/, /name another one/);
  });

  test('the jailer is looked for beside Firecracker, and must be of its release', async () => {
    const program = bin.add('firecracker', 'echo "Firecracker v1.16.1"');
    await refusal(
      findFirecracker(null, jailer(null)),
      /^jailer is neither beside .*\/firecracker nor in PATH/,
      /release/,
    );
    const old = bin.add('old-jailer', 'echo "Jailer v1.15.0"');
    await refusal(
      findFirecracker(null, jailer(old)),
      /old-jailer is version 1\.15\.0 and .* is 1\.16\.1/,
      /one release/,
    );
    const own = bin.add('jailer', 'echo "Jailer v1.16.1"');
    process.env['PATH'] = path;
    const found = await findFirecracker({ path: program, prestarted: 0 }, jailer(null));
    assert.deepEqual(found, { path: program, version: '1.16.1', jailerPath: own });
  });

  test('the files of a release are found beside each other, by their own names or by links to them', async () => {
    const release = 'v1.16.1-x86_64';
    const program = bin.add(`firecracker-${release}`, 'echo "Firecracker v1.16.1"');
    const own = bin.add(`jailer-${release}`, 'echo "Jailer v1.16.1"');
    // Another release is in PATH.
    const other = createStandIns();
    other.add('jailer', 'echo "Jailer v1.15.0"');
    process.env['PATH'] = `${other.directory}:${path ?? ''}`;
    const wanted = { path: program, version: '1.16.1', jailerPath: own };
    assert.deepEqual(await findFirecracker({ path: program, prestarted: 0 }, jailer(null)), wanted);
    const link = join(other.directory, 'firecracker');
    symlinkSync(program, link);
    await refusal(
      findFirecracker({ path: link, prestarted: 0 }, jailer(null)),
      /jailer is version 1\.15\.0/,
      /one release/,
    );
    rmSync(join(other.directory, 'jailer'));
    assert.deepEqual(await findFirecracker({ path: link, prestarted: 0 }, jailer(null)), wanted);
    other.remove();
  });

  test('a program may have any name, in a jail as well', async () => {
    const program = bin.add('fc', 'echo "Firecracker v1.16.1"');
    const own = bin.add('jailer', 'echo "Jailer v1.16.1"');
    const found = await findFirecracker({ path: program, prestarted: 0 }, jailer(null));
    assert.deepEqual(found, { path: program, version: '1.16.1', jailerPath: own });
  });
});
