/**
 * `npm run faults -- [--seed N] [--minutes M | --rounds R] [--only PART-OF-A-NAME] [--vmm qemu|process|fake-firecracker]`:
 * inflicts random faults on a snapctr under load, round by round, and checks after each that nothing was lost, doubled,
 * mixed up or left over (`test/end-to-end/fault-rounds.ts`). Exit status 1 at the first broken promise; the seed and the
 * round's number say how to see it again.
 */
import { parseArgs } from 'node:util';
import { createFaultWorkspace, FaultRounds } from '../test/end-to-end/fault-rounds.ts';
import { FAULTS } from '../test/end-to-end/host-faults.ts';
import type { TestVmm } from '../test/support/snapctr.ts';
import { surroundings } from './result.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 100_000) },
    minutes: { type: 'string', default: '10' },
    rounds: { type: 'string' },
    only: { type: 'string' },
    vmm: { type: 'string', default: 'qemu' },
  },
});
const mostRounds = values.rounds === undefined ? Infinity : Number(values.rounds);
const endsAt = values.rounds === undefined ? Date.now() + Number(values.minutes) * 60_000 : Infinity;

const possible = FAULTS.filter(({ name, lacking }) => {
  if (values.only !== undefined && !name.includes(values.only)) return false;
  const reason = lacking();
  if (reason !== null) console.log(`without "${name}": ${reason}`);
  return reason === null;
});
console.log(surroundings());
console.log(`seed ${values.seed}`);
const workspace = createFaultWorkspace();
const rounds = new FaultRounds(workspace, values.vmm as TestVmm, Number(values.seed), possible);
let status = 0;
try {
  while (rounds.totals.rounds < mostRounds && Date.now() < endsAt) console.log(await rounds.run());
  await rounds.end();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  status = 1;
} finally {
  await rounds.kill();
  workspace.remove();
}
const { totals } = rounds;
const list = (counts: ReadonlyMap<string, number>): string =>
  [...counts].map(([name, count]) => `${name} ${count}`).join(', ');
console.log(`${totals.rounds} rounds (${list(totals.faults)})`);
console.log(`${totals.requests} requests (${list(totals.endings)})`);
process.exit(status);
