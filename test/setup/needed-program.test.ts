/** What becomes of tests whose program is not there. */
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { whyWithout } from '../support/needed-program.ts';

const VARIABLE = 'SNAPFAAS_TEST_PROGRAMS';
const before = process.env[VARIABLE];

afterEach(() => {
  if (before === undefined) Reflect.deleteProperty(process.env, VARIABLE);
  else process.env[VARIABLE] = before;
});

test('needed programs: one that is there skips nothing', () => {
  process.env[VARIABLE] = 'required';
  assert.equal(whyWithout(process.execPath, 'nodejs'), false);
  assert.equal(whyWithout('sh', 'dash'), false);
});

test('needed programs: without one the tests say why, and where it is required they fail', () => {
  for (const program of ['snapfaas-no-such-program', '/nonexistent/program']) {
    Reflect.deleteProperty(process.env, VARIABLE);
    assert.match(String(whyWithout(program, 'some')), /there is no .* in the package some/);
    process.env[VARIABLE] = 'required';
    assert.throws(() => whyWithout(program, 'some'), /no test goes without/);
  }
});
