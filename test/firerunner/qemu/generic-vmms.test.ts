/** QEMUs that are started before their machine is known: which restore gets one, and what happens when one is of no use. */
import assert from 'node:assert/strict';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Driver, Machine, Surroundings } from '../../../src/firerunner/machine.ts';
import { QEMU_COMMAND, QMP_FD, STATE_IN_FD } from '../../../src/firerunner/qemu/command-line.ts';
import { qemuDriver } from '../../../src/firerunner/qemu/driver.ts';
import { GenericVmms } from '../../../src/firerunner/qemu/generic-vmms.ts';
import type { MachineSpec } from '../../../src/protocol/runner.ts';
import { commandOf, until } from '../../end-to-end/processes.ts';
import { createStandIns, pathWith, type StandIns } from '../../support/stand-in.ts';

const SPEC: MachineSpec = {
  ...{ memoryMib: 128, vcpus: 1, kernelPath: '/k', initrdPath: '/i', rootfsPath: '/r', appfsPath: '/app, 1' },
  ...{ kernelArgs: '', runtime: 'python3', network: false },
};

/** What it does beside that before it greets, and before it answers. */
interface Script {
  readonly greets?: string;
  readonly told?: string;
}

/** Speaks enough of QMP. Each keeps what it was told in a file named by its process, and what it loads beside it. */
const standIn = (directory: string, { greets = '', told = '' }: Script): string => `
made=own
for word in "$@"; do
  case $word in
    -preconfig) made=ahead;;
    *id=function,path=*) socket=\${word#*path=}; : > "\${socket%%,*}";;
  esac
done
${greets}
echo '{"QMP": {}}' >&${QMP_FD}
while read -r line <&${QMP_FD}; do
  echo "$line" >> ${directory}/told-$$
  id=\${line##*'"id":'}; id=\${id%%\\}*}
  case $line in *'"migrate-incoming"'*) dd bs=5 count=1 <&${STATE_IN_FD} > ${directory}/loaded-$$ 2>&-;; esac
  ${told}
  echo '{"return": {}, "id": '$id'}' >&${QMP_FD}
  case $line in *'"migrate-incoming"'*) echo '{"event": "RESUME"}' >&${QMP_FD};; esac
done
`;

describe('QEMUs that wait for a machine', { timeout: 60_000 }, () => {
  const path = process.env['PATH'];
  let bin: StandIns;
  let said: string[];
  let driver: Driver;
  let saved: { readonly state: { fd: number; path: null }; readonly memory: { fd: number; path: null } };
  let vms = 0;
  beforeEach(() => {
    bin = createStandIns();
    process.env['PATH'] = pathWith(bin.directory);
    for (const name of ['run', 'told']) mkdirSync(join(bin.directory, name));
    const file = join(bin.directory, 'saved');
    writeFileSync(file, 'state');
    saved = { state: { fd: openSync(file, 'r'), path: null }, memory: { fd: openSync(file, 'r'), path: null } };
  });
  afterEach(async () => {
    await driver.close();
    assert.deepEqual(
      readdirSync(join(bin.directory, 'run')).filter((name) => name.startsWith('spare-')),
      [],
    );
    closeSync(saved.state.fd);
    closeSync(saved.memory.fd);
    process.env['PATH'] = path;
    bin.remove();
  });

  const open = (size: number, script: Script = {}): void => {
    bin.add(QEMU_COMMAND, standIn(join(bin.directory, 'told'), script));
    said = [];
    const options = { accelerator: 'tcg', size, directory: join(bin.directory, 'run') } as const;
    driver = qemuDriver('tcg', new GenericVmms({ ...options, say: (text) => void said.push(text) }));
  };
  /** Waiting, by their sockets. */
  const waiting = (): number =>
    readdirSync(join(bin.directory, 'run')).filter((name) => name.startsWith('spare-')).length;
  const untilWaiting = (count: number): Promise<void> => until(`${count} wait`, () => waiting() === count);
  const restore = async (
    spec: Partial<MachineSpec> = {},
    surroundings: Partial<Surroundings> = {},
  ): Promise<{ readonly machine: Machine; readonly isAhead: boolean; readonly told: string }> => {
    const directory = join(bin.directory, 'run', `vm-${(vms += 1)}`);
    mkdirSync(directory);
    const channels: unknown[] = [];
    const onChannel = (address: { readonly socketPath: string }): void => {
      assert.ok(existsSync(address.socketPath), 'it can be dialled');
      channels.push(address);
    };
    assert.ok(driver.snapshots !== null);
    const machine = await driver.snapshots.restore({ ...SPEC, ...spec }, saved, {
      ...{ directory, network: null, onChannel, signal: new AbortController().signal, ...surroundings },
    });
    assert.deepEqual(channels, [{ socketPath: join(directory, 'function.sock'), vsockPort: null }]);
    const pid = machine.pid ?? 0;
    const read = (what: string): string => readFileSync(join(bin.directory, 'told', `${what}-${pid}`), 'utf8');
    assert.equal(read('loaded'), 'state');
    return { machine, isAhead: commandOf(pid).includes('-preconfig'), told: read('told') };
  };
  const restoreAndEnd = async (spec: Partial<MachineSpec> = {}): Promise<boolean> => {
    const { machine, isAhead } = await restore(spec);
    await machine.kill();
    return isAhead;
  };

  test('the first restore starts its own, and later ones find one that waits', async () => {
    open(2);
    assert.equal(await restoreAndEnd(), false);
    await untilWaiting(1);
    const { machine, isAhead, told } = await restore();
    assert.ok(isAhead);
    const commands = told.split('\n').filter((line) => line !== '');
    const executed = commands.map((line) => (JSON.parse(line) as { readonly execute: string }).execute);
    assert.deepEqual(executed, [
      ...['qmp_capabilities', 'object-add', 'qom-set', 'blockdev-add', 'blockdev-add', 'x-exit-preconfig'],
      ...['migrate-set-capabilities', 'migrate-incoming'],
    ]);
    assert.match(told, new RegExp(`"mem-path":"/proc/${process.pid}/fd/${saved.memory.fd}"`));
    assert.match(told, /"filename":"\/app, 1"/);
    await machine.kill();
    // Both of the last two were of this size.
    await untilWaiting(2);
  });

  test('as many wait as were restored last, of the sizes that these had', async () => {
    open(2);
    for (const memoryMib of [128, 128]) await restoreAndEnd({ memoryMib });
    await untilWaiting(2);
    assert.deepEqual([await restoreAndEnd({ memoryMib: 256 }), await restoreAndEnd({ vcpus: 2 })], [false, false]);
    await until('others wait', () => waiting() === 2);
    await until('one waits for each', async () => {
      const found = [await restoreAndEnd({ memoryMib: 256 }), await restoreAndEnd({ vcpus: 2 })];
      return found.every((isAhead) => isAhead);
    });
  });

  test('one without files of a function is another kind', async () => {
    open(1);
    await restoreAndEnd();
    await untilWaiting(1);
    assert.equal(await restoreAndEnd({ appfsPath: null }), false);
  });

  test('what refuses its machine costs a launch nothing but time, and in the end none wait', async () => {
    const refusal = `echo '{"error": {"desc": "no such property"}, "id": '$id'}' >&3`;
    open(1, { told: `case "$made$line" in ahead*qom-set*) ${refusal}; continue;; esac` });
    for (let refused = 0; refused < 3; refused += 1) {
      assert.deepEqual(said, []);
      assert.equal(await restoreAndEnd(), false);
      await untilWaiting(1);
    }
    assert.equal(await restoreAndEnd(), false);
    await untilWaiting(0);
    assert.equal(said.length, 1);
    assert.match(said[0] ?? '', /each launch starts its own: QEMU refused qom-set: no such property/);
    assert.equal(await restoreAndEnd(), false);
  });

  test('one that has ended is not taken, and is replaced', async () => {
    open(1);
    await restoreAndEnd();
    await untilWaiting(1);
    const [pid] = waitingProcesses(bin.directory);
    process.kill(-(pid ?? Number.NaN), 'SIGKILL');
    assert.equal(await restoreAndEnd(), false);
    await untilWaiting(1);
    assert.equal(await restoreAndEnd(), true);
  });

  test('one that says nothing more is ended with the launch that has it', async () => {
    open(1, { told: 'case "$made$line" in ahead*qom-set*) exec sleep 1000;; esac' });
    await restoreAndEnd();
    await untilWaiting(1);
    const calledOff = new Error('late');
    await assert.rejects(restore({}, { signal: AbortSignal.abort(calledOff) }), calledOff);
    await untilWaiting(1);
    const limit = new AbortController();
    setTimeout(() => limit.abort(calledOff), 300);
    await assert.rejects(restore({}, { signal: limit.signal }), calledOff);
    assert.deepEqual(waitingProcesses(bin.directory), []);
  });

  test('one that never takes commands is given up, and the launch that waits for it starts its own', async () => {
    open(1, { greets: 'case $made in ahead) exec sleep 1000;; esac' });
    await restoreAndEnd();
    await untilWaiting(1);
    assert.equal(await restoreAndEnd(), false);
    assert.equal(said.length, 1);
    assert.match(said[0] ?? '', /no VMM can be started ahead: it was not done within 10000 ms/);
  });

  test('a state that it cannot load is the snapshot’s fault, as it is for any other', async () => {
    open(1, { told: `case "$made$line" in ahead*migrate-incoming*) echo "bad state" >&2; exit 1;; esac` });
    await restoreAndEnd();
    await untilWaiting(1);
    await assert.rejects(restore(), { name: 'LaunchError', message: /exited with status 1/, console: ['bad state'] });
  });

  test('a tap is named when it is known, and one with a network is another kind', async () => {
    open(1);
    const network = { tapName: 'sf7', mac: '02:00:0a:c8:00:07' };
    for (const isAhead of [false, true]) {
      const { machine, ...made } = await restore({ network: true }, { network });
      assert.equal(made.isAhead, isAhead);
      if (isAhead) assert.match(made.told, /"netdev_add","arguments":\{"type":"tap","id":"net0","ifname":"sf7",/);
      await machine.kill();
      await untilWaiting(1);
    }
    assert.equal(await restoreAndEnd(), false);
  });

  test('a machine whose snapshot is made starts its own', async () => {
    open(1);
    await restoreAndEnd();
    await untilWaiting(1);
    const { machine, isAhead } = await restore({}, { savable: { memoryPath: '/memory', statePath: '/state' } });
    assert.equal(isAhead, false);
    await machine.kill();
    assert.equal(waiting(), 1);
  });
});

function waitingProcesses(directory: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      const command = pid > 0 ? commandOf(pid) : [];
      return command.includes('-preconfig') && command.some((word) => word.includes(`${directory}/run/spare-`));
    });
}
