/** What a user is shown of a Firecracker process's output, and how its end is told. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiRefusal } from '../../../src/firerunner/firecracker/api.ts';
import { tellingLines } from '../../../src/firerunner/firecracker/console.ts';
import { describeExit } from '../../../src/firerunner/firecracker/exit-status.ts';

const at = (thread: string, text: string): string => `2026-06-01T10:00:00.123456789 [snapfaas-1-2-3:${thread}] ${text}`;
const RESUME =
  'Received a VcpuEvent::Resume message with immediate_exit enabled. immediate_exit was disabled before proceeding';
const COPY = 'Received Error. Status code: 400 Bad Request. Message: Load snapshot error: no';

test('what Firecracker warns of at every start is not shown, all else is', () => {
  const lines = [
    at('fc_vcpu 0', RESUME),
    at('fc_vcpu 0', 'KVM_KVMCLOCK_CTRL call failed Invalid argument (os error 22)'),
    at('main', 'vsock: connection limit reached; refusing new host connection'),
    'Kernel panic - not syncing',
    RESUME,
    at('fc_api', COPY),
  ];
  assert.deepEqual(tellingLines(lines), lines.slice(2));
});

test('its copy of a refusal is not shown beside the refusal', () => {
  const refusal = new ApiRefusal('PUT /snapshot/load', {
    status: 400,
    text: '{"fault_message":"Load snapshot error: no"}',
  });
  assert.deepEqual(tellingLines(['first', at('fc_api', COPY)], refusal), ['first']);
});

test('each status that Firecracker ends with has a meaning', () => {
  for (const status of [0, 1, 2, ...Array.from({ length: 10 }, (_, index) => 148 + index)]) {
    const text = describeExit({ status, signal: null, reason: `firecracker exited with status ${status}` });
    assert.match(text, /^firecracker exited with status \d+ \(.+\)$/);
  }
  assert.match(
    describeExit({ status: 0, signal: null, reason: 'it' }),
    /by itself, by a panic, or by a fault of its processor/,
  );
  assert.match(describeExit({ status: 155, signal: null, reason: 'it' }), /SIGPIPE/);
  assert.equal(describeExit({ status: null, signal: 'SIGKILL', reason: 'it was killed' }), 'it was killed');
});
