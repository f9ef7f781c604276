/** A short run of what `npm run faults` does for as long as it is told to. */
import { test } from 'node:test';
import { createFaultWorkspace, FaultRounds } from './fault-rounds.ts';
import { FAULTS } from './host-faults.ts';

const SEED = 1;
const ROUNDS = 6;

test('faults of the host, round by round: nothing is lost, doubled or left over', { timeout: 900_000 }, async (t) => {
  const possible = FAULTS.filter(({ name, lacking }) => {
    const reason = lacking();
    if (reason !== null) t.diagnostic(`without "${name}": ${reason}`);
    return reason === null;
  });
  const workspace = createFaultWorkspace();
  const rounds = new FaultRounds(workspace, 'qemu', SEED, possible);
  try {
    for (let round = 0; round < ROUNDS; round += 1) t.diagnostic(await rounds.run());
    await rounds.end();
  } finally {
    await rounds.kill();
    workspace.remove();
  }
});
