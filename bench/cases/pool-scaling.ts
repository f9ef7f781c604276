/** What taking a VM from the pool and returning it costs, with few and with many functions and VMs. */
import { FairShare } from '../../src/controller/pool/fair-share.ts';
import { Ledger } from '../../src/controller/pool/ledger.ts';
import type { Vm } from '../../src/controller/pool/vm.ts';
import type { FunctionVms } from '../../src/controller/pool/function-vms.ts';
import { SnapfaasError } from '../../src/protocol/errors.ts';
import { functionConfig, ScriptedGuests, TestPool, withVm } from '../../test/support/scripted-guests.ts';
import { median, result, summary, type Benchmark } from '../result.ts';

const ROUNDS = 40;
const OPERATIONS = 5000;

interface Load {
  readonly pool: TestPool;
  readonly guests: ScriptedGuests;
  readonly functions: readonly FunctionVms[];
}

const never = new AbortController().signal;
const nothing = (): Promise<void> => Promise.resolve();

async function fill(functions: number, vms: number): Promise<Load> {
  const names = Array.from({ length: functions }, (_, i) => `function-${i}`);
  const guests = new ScriptedGuests();
  const now = (): number => performance.now();
  const pool: TestPool = new TestPool({
    functions: names.map((name) => functionConfig(name)),
    ledger: new Ledger(vms * 128),
    policy: new FairShare<Vm>(now),
    createVm: (fn) => guests.createVm(fn, { onLost: (vm) => pool.onLost(vm) }),
    startVm: (vm) => void guests.start(vm),
    now,
  });
  const warm = names.slice(0, vms).map((name) => pool.fn(name));
  for (const fn of warm) await withVm(pool, fn, never, nothing);
  return { pool, guests, functions: warm };
}

/** One round, in ns for each operation. */
async function round({ pool, functions }: Load): Promise<number> {
  const start = process.hrtime.bigint();
  for (let i = 0; i < OPERATIONS; i += functions.length) {
    for (const fn of functions) await withVm(pool, fn, never, nothing);
  }
  return Number(process.hrtime.bigint() - start) / OPERATIONS;
}

export const poolScaling: Benchmark = {
  name: 'pool-scaling',
  async run() {
    const few = await fill(10, 10);
    const many = await fill(10_000, 1000);
    for (const load of [few, many]) await round(load);
    const samples = { few: [] as number[], many: [] as number[] };
    for (let i = 0; i < ROUNDS; i += 1) {
      samples.few.push(await round(few));
      samples.many.push(await round(many));
    }
    for (const { pool, guests } of [few, many]) {
      await pool.close(new SnapfaasError('shutting_down', 'measured'));
      guests.close();
    }
    const ratios = samples.many.map((value, i) => value / (samples.few[i] ?? Number.NaN));
    return [
      result(
        'pool-scaling',
        median(ratios),
        'ratio',
        { at: 'most', value: 1.2 },
        ratios,
        `take and return, ns: 10,000 functions and 1,000 VMs ${summary(samples.many)}; 10 and 10 ${summary(samples.few)}`,
      ),
    ];
  },
};
