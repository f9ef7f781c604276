/** A tap that is not there any more when its VM runs: a VMM that may make taps makes it anew, with nobody at its other end. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { createNamespace, namespaceProblem } from '../../support/network-namespace.ts';
import { PROJECT_ROOT } from '../../support/snapctr.ts';

/** What happens to the tap between the look at it and the end of the start, and what becomes of the launch. */
const SCRIPT = `
  import { execFileSync } from 'node:child_process';
  const { withTap } = await import(process.argv[1]);
  const ip = (...args) => execFileSync('ip', args);
  ip('tuntap', 'add', 'dev', 'snap0', 'mode', 'tap');
  ip('link', 'set', 'snap0', 'up');
  let isKilled = false, isReleased = false;
  const tap = { attachment: { tapName: 'snap0', mac: '' }, guest: {}, ending() {}, release() { isReleased = true; } };
  const machine = { exited: new Promise(() => {}), kill: async () => void (isKilled = true) };
  const start = async () => {
    if (process.argv[2] !== 'stays') ip('tuntap', 'del', 'dev', 'snap0', 'mode', 'tap');
    if (process.argv[2] === 'made anew') ip('tuntap', 'add', 'dev', 'snap0', 'mode', 'tap');
    return machine;
  };
  const taps = { take: async () => tap };
  const signal = new AbortController().signal;
  const problem = await withTap({ network: true }, taps, { signal }, start).then(() => null, (error) => error.message);
  console.log(JSON.stringify({ problem, isKilled, isReleased }));
`;

const problem = namespaceProblem();

for (const [what, message] of [
  ['stays', null],
  ['vanishes', /the tap snap0 does not exist; set the taps up/],
  ['made anew', /the tap snap0 is down; set the taps up|the tap snap0 does not exist/],
] as const) {
  test(`a tap that ${what} while its VM starts`, { skip: problem ?? false, timeout: 60_000 }, () => {
    const namespace = createNamespace();
    try {
      const args = [
        '--import',
        'tsx',
        '--input-type=module',
        '-e',
        SCRIPT,
        join(PROJECT_ROOT, 'src/firerunner/launch.ts'),
        what,
      ];
      const { status, stdout, stderr } = namespace.run(process.execPath, ...args);
      assert.equal(status, 0, stderr);
      const result = JSON.parse(stdout) as { problem: string | null; isKilled: boolean; isReleased: boolean };
      if (message === null) assert.deepEqual(result, { problem: null, isKilled: false, isReleased: false });
      else {
        assert.match(result.problem ?? '', message);
        assert.deepEqual([result.isKilled, result.isReleased], [true, true]);
      }
    } finally {
      namespace.remove();
    }
  });
}
