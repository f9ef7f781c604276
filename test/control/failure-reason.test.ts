import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { test } from 'node:test';
import { reasonOf } from '../../src/control/failure-reason.ts';
import { SnapfaasError } from '../../src/protocol/errors.ts';

test('failure reason: names a file of the host without telling where it is', async () => {
  const lost: unknown = await stat('/nobody/has/this/0abc.zip').catch((error: unknown) => error);
  assert.ok(lost instanceof Error);
  const expected = { message: "ENOENT: no such file or directory, stat '0abc.zip'", code: 'InternalError' };
  assert.deepEqual(reasonOf(lost), expected);
  const wrapped = new SnapfaasError('vm_launch_failed', `function "f" cannot run: ${lost.message}`, { cause: lost });
  assert.equal(reasonOf(wrapped).message, `function "f" cannot run: ${expected.message}`);
});
