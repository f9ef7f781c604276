/**
 * The first request on a VM from the client's side: restored for the request, into a QEMU that waited or one of its own,
 * restored ahead of it, booted; beside `runc run` of the same handler on the same files where runc is installed.
 */
import { join } from 'node:path';
import { stageApp } from '../../src/images/app-stage.ts';
import { median, result, summary, type Benchmark, type Result } from '../result.ts';
import { HEAVY, HELLO, type Measured } from '../support/hello.ts';
import { hasRunc, RUNC_MISSING, RuncBundle } from '../support/runc.ts';
import { sideBySide, StartBench, type StartOptions } from '../support/starts.ts';

const ROUNDS = 30;
/** Boots take seconds. */
const BOOTS = 5;

interface Bounds {
  readonly restored: number;
  readonly ahead: number | null;
}

export const starts: Benchmark = {
  name: 'starts',
  async run() {
    if (!hasRunc()) console.log(`starts: ${RUNC_MISSING}`);
    return [
      ...(await measure('python3', HELLO.python3, { restored: 0.5, ahead: 0.08 }, {})),
      ...(await measure('nodejs', HELLO.nodejs, { restored: 1.7, ahead: 0.25 }, {})),
      ...(await measure('python3-heavy', HEAVY.python3, { restored: 0.35, ahead: null }, { memory: 256 })),
      ...(await measure('nodejs-heavy', HEAVY.nodejs, { restored: 0.8, ahead: null }, { memory: 256 })),
    ];
  },
};

async function measure(name: string, fn: Measured, bounds: Bounds, options: StartOptions): Promise<Result[]> {
  const onDemand = await StartBench.open(fn, options);
  const ahead = await StartBench.open(fn, { ...options, ahead: true });
  const alone = await StartBench.open(fn, { ...options, prestarted: 0 });
  const runc = hasRunc()
    ? new RuncBundle(fn.runtime, (await stageApp(join(onDemand.workspace.directory, 'apps', 'measured'))).directory)
    : null;
  try {
    const samples = await sideBySide(ROUNDS, {
      restored: () => onDemand.start(),
      alone: () => alone.start(),
      ahead: () => ahead.start(),
      ...(runc === null ? {} : { runc: () => runc.run(fn) }),
    });
    const { restored = [], alone: withoutWaiting = [], ahead: launchedAhead = [], runc: container = [] } = samples;
    const results = [
      result(
        `start-restored-${name}`,
        median(restored),
        'ms',
        null,
        restored,
        `request to answer: ${summary(restored)}`,
      ),
      result(
        `start-restored-${name}-vs-own-qemu`,
        median(restored) / median(withoutWaiting),
        'ratio',
        { at: 'most', value: 0.95 },
        restored.map((value) => value / median(withoutWaiting)),
        `with QEMUs that wait ${summary(restored)} ms; without ${summary(withoutWaiting)} ms`,
      ),
      result(`start-ahead-${name}`, median(launchedAhead), 'ms', null, launchedAhead, summary(launchedAhead)),
      ...(runc === null
        ? []
        : [
            besideRunc(`start-restored-${name}-vs-runc`, restored, container, bounds.restored),
            besideRunc(`start-ahead-${name}-vs-runc`, launchedAhead, container, bounds.ahead),
          ]),
    ];
    return bounds.ahead === null ? results : [...results, await besideBoot(name, fn, options, restored)];
  } finally {
    await onDemand.close();
    await ahead.close();
    await alone.close();
    runc?.remove();
  }
}

function besideRunc(name: string, vm: readonly number[], container: readonly number[], bound: number | null): Result {
  const ratios = vm.map((value) => value / median(container));
  const note = `VM ${summary(vm)} ms; runc run ${summary(container)} ms`;
  const value = median(vm) / median(container);
  return result(name, value, 'ratio', bound === null ? null : { at: 'most', value: bound }, ratios, note);
}

async function besideBoot(
  name: string,
  fn: Measured,
  options: StartOptions,
  restored: readonly number[],
): Promise<Result> {
  const booting = await StartBench.open(fn, { ...options, snapshots: false });
  try {
    const { boot = [] } = await sideBySide(BOOTS, { boot: () => booting.start() });
    const note = `boot ${summary(boot)} ms; restore ${summary(restored)} ms`;
    const ratios = boot.map((value) => value / median(restored));
    return result(
      `boot-vs-restore-${name}`,
      median(boot) / median(restored),
      'ratio',
      { at: 'least', value: 40 },
      ratios,
      note,
    );
  } finally {
    await booting.close();
  }
}
