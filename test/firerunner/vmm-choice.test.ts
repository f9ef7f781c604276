import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { LaunchError } from '../../src/firerunner/machine.ts';
import { openRunDirectory, type RunDirectory } from '../../src/firerunner/run-directory.ts';
import { chooseVmm, type VmmChoice, type ChoiceOptions } from '../../src/firerunner/vmm-choice.ts';
import { NO_SETTINGS } from '../../src/protocol/vmm-settings.ts';
import { kvmDevice } from '../../src/firerunner/probes/kvm-device.ts';
import { installFakeFirecracker } from '../support/firecracker/install.ts';
import { createStandIns, elfHeader, type StandIns } from '../support/stand-in.ts';

const { usable, finding } = kvmDevice();
const withKvm = { skip: usable ? false : `no probe without KVM: ${finding}` };

describe('choice of the VMM', { timeout: 30_000 }, () => {
  const path = process.env['PATH'];
  let bin: StandIns;
  let place: string;
  let directory: RunDirectory;
  beforeEach(async () => {
    bin = createStandIns();
    place = mkdtempSync(join(tmpdir(), 'snapfaas-choice-'));
    directory = await openRunDirectory({ SNAPFAAS_RUN_DIR: place });
    process.env['PATH'] = bin.directory;
  });
  afterEach(() => {
    process.env['PATH'] = path;
    delete process.env['XDG_CACHE_HOME'];
    delete process.env['FAKE_FIRECRACKER_FAULT'];
    directory.close();
    rmSync(place, { recursive: true });
    bin.remove();
  });

  const choose = (wish: Partial<ChoiceOptions>): Promise<VmmChoice> =>
    chooseVmm({
      vmm: 'auto',
      accelerator: 'auto',
      settings: NO_SETTINGS,
      guest: null,
      directory,
      say: () => undefined,
      ...wish,
    });
  const refusal = async (wish: Partial<ChoiceOptions>, ...words: readonly RegExp[]): Promise<void> => {
    await assert.rejects(choose(wish), (error: unknown) => {
      assert.ok(error instanceof LaunchError);
      for (const word of words) assert.match(error.message, word);
      return true;
    });
  };

  test('process is taken when asked for, whatever is installed', async () => {
    const { driver, reason } = await choose({ vmm: 'process' });
    assert.deepEqual([driver.name, reason], ['process', 'process: asked for']);
  });

  test('Firecracker that is asked for and missing, or too old, is an error at once', async () => {
    await refusal({ vmm: 'firecracker' }, /^firecracker is not in PATH; install version 1\.16\.1 or newer/);
    bin.add('firecracker', 'echo "Firecracker v1.15.2"');
    await refusal({ vmm: 'firecracker' }, /is Firecracker 1\.15\.2/, /1\.16\.1 or newer is needed/);
  });

  test('auto takes Firecracker where a guest ran under it', withKvm, async () => {
    await installFakeFirecracker(bin.directory);
    process.env['PATH'] = [bin.directory, path].join(delimiter);
    process.env['XDG_CACHE_HOME'] = join(place, 'cache');
    const guest = { kernelPath: join(place, 'kernel'), initrdPath: join(place, 'initrd') };
    writeFileSync(guest.kernelPath, elfHeader(62));
    writeFileSync(guest.initrdPath, '070701');
    const first = await choose({ guest });
    assert.deepEqual([first.driver.name, first.reason], ['firecracker', 'firecracker: Firecracker 1.16.1 ran a guest']);
    const second = await choose({ guest });
    assert.match(
      second.reason,
      /^firecracker: .* \(found out earlier and kept in .*\/cache\/snapfaas\/probes\/firecracker-/,
    );
    for (const { driver } of [first, second]) await driver.close();
    process.env['FAKE_FIRECRACKER_FAULT'] = JSON.stringify({ at: 'start', do: 'exit', status: 1 });
    bin.add('qemu-system-x86_64', 'exit 1');
    writeFileSync(guest.kernelPath, 'another kernel');
    const third = await choose({ guest });
    assert.equal(third.driver.name, 'qemu');
    assert.match(third.reason, /not firecracker: .*exited with status 1|not firecracker: .*--version failed/);
  });

  test('QEMU that is asked for and missing is an error with both ways out', async () => {
    await refusal({ vmm: 'qemu' }, /not in PATH; install it: apt-get install qemu-system-x86/, /--vmm process/);
  });

  test('an accelerator that is asked for is taken without a probe, and means QEMU', async () => {
    bin.add('qemu-system-x86_64', 'exit 1');
    for (const vmm of ['qemu', 'auto'] as const) {
      const { driver, reason } = await choose({ vmm, accelerator: 'kvm' });
      assert.deepEqual([driver.name, reason], ['qemu', 'qemu with kvm: asked for']);
    }
  });

  test('auto takes QEMU with emulation where nothing better is proved, and says why not', async () => {
    bin.add('qemu-system-x86_64', 'exit 1');
    const { driver, reason } = await choose({});
    assert.equal(driver.name, 'qemu');
    assert.match(reason, /^qemu with tcg: .+; not firecracker: firecracker is not in PATH$/);
  });

  test('auto without any VMM is an error with every remedy, and never becomes process', async () => {
    await refusal({}, /install version 1\.16\.1/, /apt-get install qemu-system-x86/, /--vmm process/);
  });
});
