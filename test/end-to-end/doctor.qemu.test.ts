/** `snapctr doctor` on this host as it is, whatever its KVM can do: the report must agree with itself and with `auto`. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { CheckResult } from '../../src/doctor/check.ts';
import type { Diagnosis } from '../../src/doctor/doctor.ts';
import type { RunnerEvent } from '../../src/protocol/runner.ts';
import { kvmDevice } from '../../src/firerunner/probes/kvm-device.ts';
import { makeChrootBase, untilNothingIsLeftIn } from '../firerunner/firecracker/jails.ts';
import { installFakeFirecracker } from '../support/firecracker/install.ts';
import { source } from '../support/functions.ts';
import { startProgram } from '../support/program.ts';
import {
  assertNothingLeft,
  createWorkspace,
  FIRERUNNER,
  IMAGES,
  SNAPCTR,
  startController,
  type Finished,
  type Workspace,
} from '../support/snapctr.ts';

const { usable, finding } = kvmDevice();
const withKvm = { skip: usable ? false : `no probe without KVM: ${finding}` };
const withJails = { skip: process.getuid?.() === 0 ? withKvm.skip : 'jails need root' };
const STATUSES = ['ok', 'warning', 'problem', 'skipped'];

describe('snapctr doctor', { timeout: 180_000 }, () => {
  let workspace: Workspace;
  let cache: string;

  before(() => {
    workspace = createWorkspace([source('echo', 'nodejs', 'exports.handle = (event) => event;\n')]);
    cache = mkdtempSync(join(tmpdir(), 'snapfaas-cache-'));
  });
  after(async () => {
    await assertNothingLeft(workspace);
    workspace.remove();
    rmSync(cache, { recursive: true });
  });

  const start = async (program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Finished> => {
    const running = startProgram(program, args, { workspace, env: { XDG_CACHE_HOME: cache, ...env } });
    running.end();
    return running.finished;
  };
  const doctor = (args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Finished> =>
    start(SNAPCTR, ['doctor', ...args], env);
  const diagnose = async (args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<[Diagnosis, Finished]> => {
    const finished = await doctor(['--json', ...args], env);
    assert.equal(finished.stderr, '');
    return [JSON.parse(finished.stdout) as Diagnosis, finished];
  };
  const checkOf = ({ checks }: Diagnosis, name: string): CheckResult => {
    const check = checks.find((one) => one.name === name);
    assert.ok(check, `there is no check ${name}`);
    return check;
  };
  const results = (): string[] => {
    const directory = join(cache, 'snapfaas', 'probes');
    return existsSync(directory) ? readdirSync(directory).map((name) => join(directory, name)) : [];
  };
  /** The reason that a firerunner gives for its VMM. */
  const choose = async (env: NodeJS.ProcessEnv = {}): Promise<string> => {
    const args = ['--serve', '--kernel', join(IMAGES, 'vmlinux')];
    const { stdout, stderr } = await start(FIRERUNNER, args, env);
    assert.notEqual(stdout, '', stderr);
    const event = JSON.parse(stdout.split('\n', 1)[0] ?? '') as RunnerEvent;
    return event.event === 'serving' ? event.reason : `${event.event} came first`;
  };
  const withoutVmms = (): NodeJS.ProcessEnv => ({ PATH: join(workspace.directory, 'empty') });

  test('--json: functions run in VMs here, in what the checks say, and the next start knows', async () => {
    const [diagnosis, { status }] = await diagnose([]);
    assert.deepEqual([status, diagnosis.ok], [0, true], JSON.stringify(diagnosis));
    assert.deepEqual(Object.keys(diagnosis), ['ok', 'vmm', 'accelerator', 'reason', 'checks']);
    for (const check of diagnosis.checks) {
      assert.deepEqual(Object.keys(check), ['name', 'status', 'detail', 'remedy']);
      assert.ok(STATUSES.includes(check.status));
      // Whatever is not well has a remedy, and nothing else has.
      assert.equal(check.remedy !== null, ['warning', 'problem'].includes(check.status), JSON.stringify(check));
    }
    const [kvm, vmm] = [checkOf(diagnosis, 'kvm-guest'), checkOf(diagnosis, 'vmm')];
    assert.equal(vmm.status, 'ok');
    if (checkOf(diagnosis, 'firecracker').status === 'ok') assert.equal(diagnosis.vmm, 'firecracker');
    else assert.deepEqual([diagnosis.vmm, diagnosis.accelerator], ['qemu', kvm.status === 'ok' ? 'kvm' : 'tcg']);
    if (diagnosis.accelerator === 'tcg') {
      assert.match(diagnosis.reason, /^qemu with tcg: /);
      assert.match(vmm.detail, /QEMU ran a guest under emulation$/);
      if (kvm.status === 'warning') assert.ok(diagnosis.reason.includes(kvm.detail), 'it says why not KVM');
    }

    const reason = await choose();
    if (kvm.status === 'skipped') {
      assert.equal(reason, diagnosis.reason);
      assert.deepEqual(results(), []);
      return;
    }
    const kept = results().find((path) => reason.includes(`found out earlier and kept in ${path}`));
    assert.ok(kept, reason);
    writeFileSync(kept, JSON.stringify({ usable: false, finding: 'THE FILE SAID SO', remedy: null }));
    assert.match(await choose(), /THE FILE SAID SO \(found out earlier/);
    await diagnose([]);
    assert.doesNotMatch(await choose(), /THE FILE SAID SO/);
    assert.doesNotMatch(readFileSync(kept, 'utf8'), /THE FILE SAID SO/);
  });

  test('for people: a line for each check, remedies, and a last line with the VMM', async () => {
    const { status, stdout, stderr } = await doctor(['--mem', '256']);
    assert.deepEqual([status, stderr], [0, '']);
    const [report = '', last = ''] = stdout.split('\n\n');
    for (const line of report.split('\n'))
      assert.match(line, /^(?:(?:ok|warning|problem|skipped) +[a-z-]+ {2,}\S| +→ \S)/);
    assert.match(last, /^Functions run in VMs here: (?:firecracker|qemu with (?:kvm|tcg))\./);
    assert.match(stdout, /--mem 256 is within it/);
    assert.equal(stdout.includes('\u001b'), false);
  });

  test('a host with neither Firecracker nor QEMU: status 1, every remedy, and that --vmm process works', async () => {
    const [diagnosis, { status }] = await diagnose([], withoutVmms());
    assert.deepEqual([status, diagnosis.ok, diagnosis.vmm, diagnosis.accelerator], [1, false, null, null]);
    assert.match(diagnosis.reason, /cannot run in VMs here \(vmm\); --vmm process works/);
    const { detail } = checkOf(diagnosis, 'vmm');
    assert.match(detail, /install version 1\.16\.1 or newer/);
    assert.match(detail, /apt-get install qemu-system-x86/);
    const { status: again, stdout } = await doctor([], withoutVmms());
    assert.equal(again, 1);
    assert.match(stdout, /\n\nFunctions cannot run in VMs here .*--vmm process works.*\n$/);
  });

  test('with a Firecracker that runs guests, functions run in it, and the next start knows', withKvm, async () => {
    const fakes = join(workspace.directory, 'fakes');
    await installFakeFirecracker(fakes);
    const env = { PATH: [fakes, process.env['PATH'] ?? ''].join(delimiter) };
    const [diagnosis, { status }] = await diagnose([], env);
    assert.deepEqual([status, diagnosis.vmm, diagnosis.accelerator], [0, 'firecracker', null]);
    assert.equal(checkOf(diagnosis, 'kvm-guest').detail, 'Firecracker 1.16.1 ran a guest');
    assert.match(await choose(env), /^firecracker: Firecracker 1\.16\.1 ran a guest \(found out earlier and kept in /);
  });

  test('with jails, what counts is a guest in a jail, and VMs run in the same ones', withJails, async () => {
    const fakes = join(workspace.directory, 'fakes');
    await installFakeFirecracker(fakes);
    const env = { PATH: [fakes, process.env['PATH'] ?? ''].join(delimiter) };
    const base = makeChrootBase();
    const jailed = (chrootBase: string, more = ''): Workspace =>
      createWorkspace(
        [source('echo', 'nodejs', 'exports.handle = (event) => event;\n')],
        ['firecracker: {prestarted: 1}', `jailer: {uid_range: 300000-300009, chroot_base: ${chrootBase}${more}}`],
      );
    const good = jailed(base);
    const [diagnosis, { status }] = await diagnose(['--config', good.config], env);
    assert.deepEqual([status, diagnosis.vmm], [0, 'firecracker'], JSON.stringify(diagnosis));
    assert.equal(diagnosis.reason, 'firecracker: Firecracker 1.16.1 ran a guest in a jail');
    assert.match(
      checkOf(diagnosis, 'jailer').detail,
      /\/jailer, jails in .*: Firecracker 1\.16\.1 ran a guest in a jail$/,
    );

    // Once with the result that is kept, once with a probe in the jails that the VM is started in.
    for (const [place, words] of [
      [cache, /ran a guest in a jail \(found out earlier/],
      [join(good.directory, 'cache'), /ran a guest in a jail"/],
    ] as const) {
      const options = {
        vmm: 'fake-firecracker',
        args: ['--vmm', 'auto'],
        env: { ...env, XDG_CACHE_HOME: place },
      } as const;
      const controller = await startController(good, options);
      const { body } = await controller.invoke('echo', { n: 1 });
      assert.equal(await controller.stop(), 0);
      const choice = controller.log.find((line) => line.includes('"vmm":"firecracker"'));
      assert.match(choice ?? '', words);
      assert.deepEqual(body, { n: 1 });
    }
    await assertNothingLeft(good);
    good.remove();
    await untilNothingIsLeftIn(base);
    rmSync(base, { recursive: true });

    for (const [chrootBase, more, check, detail, remedy] of [
      ['/etc/passwd', '', 'jailer', /ENOTDIR/, /^name another one with `chroot_base`$/],
      [join(tmpdir(), 'x'.repeat(70)), '', 'jailer', /is too long/, /^use a shorter directory$/],
      [
        base,
        ', cgroup: {io.max: "8:0 rbps=1"}',
        'configuration',
        /`jailer\.cgroup\.io\.max`.* without `=`/,
        /^correct/,
      ],
    ] as const) {
      const bad = jailed(chrootBase, more);
      const [found, end] = await diagnose(['--config', bad.config], { PATH: fakes });
      assert.deepEqual([end.status, found.vmm], [1, null], chrootBase);
      assert.match(checkOf(found, check).detail, detail);
      assert.match(checkOf(found, check).remedy ?? '', remedy);
      bad.remove();
    }
  });

  test('--config: what is wrong with it is a check, and its images are examined all the same', async () => {
    const [good, { status }] = await diagnose(['--config', workspace.config]);
    assert.deepEqual([status, checkOf(good, 'configuration').detail], [0, `${workspace.config}, functions: 1`]);

    const broken = join(workspace.directory, 'vmlinux');
    writeFileSync(broken, 'MZ, a compressed kernel');
    writeFileSync(join(workspace.directory, 'initrd.cpio'), '070701');
    const other = join(workspace.directory, 'other.yaml');
    const text = readFileSync(workspace.config, 'utf8');
    writeFileSync(other, text.replace(/^kernel_path: .*$/m, `kernel_path: ${broken}`));
    const [bad, end] = await diagnose(['--config', other]);
    assert.deepEqual([end.status, bad.vmm], [1, null]);
    assert.match(checkOf(bad, 'kernel').detail, /is no uncompressed kernel/);
    assert.equal(checkOf(bad, 'vmm').status, 'problem', 'no guest ran');

    writeFileSync(other, text.replace(/^kernel_path: .*$/m, 'kernel_path: nowhere'));
    const [unbuilt] = await diagnose(['--config', other], withoutVmms());
    assert.match(checkOf(unbuilt, 'kernel').detail, /nowhere does not exist/);
    assert.equal(checkOf(unbuilt, 'root-file-systems').status, 'ok');

    writeFileSync(other, `${text.replace(/^kernel_path: .*$/m, 'kernel_path: nowhere')}\nkernel_pth: x\n`);
    const [wrong, failed] = await diagnose(['--config', other], withoutVmms());
    assert.equal(failed.status, 1);
    const { detail } = checkOf(wrong, 'configuration');
    assert.match(detail, /other\.yaml:\d+:\d+: .*nowhere/);
    assert.match(detail, /other\.yaml:\d+:\d+: .*kernel_pth/);
    assert.match(checkOf(wrong, 'configuration').remedy ?? '', /correct .*other\.yaml/);
  });

  test('a run directory that cannot be used is a problem, and nothing else breaks', async () => {
    const tooLong = join(workspace.directory, 'long'.repeat(30));
    const [diagnosis, { status }] = await diagnose([], { SNAPFAAS_RUN_DIR: tooLong });
    assert.equal(status, 1);
    assert.match(checkOf(diagnosis, 'run-directory').detail, /is too long/);
    assert.match(diagnosis.reason, /\(run-directory\)/);
  });

  test('a reader that goes away early does not change the exit status', async () => {
    const running = startProgram(SNAPCTR, ['doctor'], { workspace, env: withoutVmms() });
    running.closeStdout();
    assert.deepEqual([(await running.finished).status, running.stderr], [1, '']);
  });

  test('a wrong command line ends with status 2; --help tells all', async () => {
    for (const args of [['--jsno'], ['--mem', '64'], ['surplus']]) {
      const { status, stdout, stderr } = await doctor(args);
      assert.deepEqual([status, stdout], [2, ''], args.join(' '));
      assert.match(stderr, /error: /);
    }
    const { status, stdout } = await doctor(['--help']);
    assert.equal(status, 0);
    for (const word of ['--config', '--mem', '--json', 'Exit status: 0']) assert.ok(stdout.includes(word), word);
  });
});
