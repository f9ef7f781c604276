import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError, isHosts, LaunchError } from '../../src/firerunner/machine.ts';

test('what the host lacked is known by the error, or by what caused it', () => {
  const system = (code: string): Error => Object.assign(new Error(code), { code, syscall: 'spawn' });
  for (const code of ['EAGAIN', 'EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS', 'ENOSPC', 'EDQUOT']) {
    assert.ok(isHosts(system(code)), code);
    assert.ok(isHosts(new LaunchError('the VM did not start', { cause: system(code) })), code);
  }
  assert.ok(isHosts(new HostError('there is no tap')));
  for (const code of ['ENOENT', 'EINVAL', 'ECONNRESET']) assert.ok(!isHosts(system(code)), code);
  // A code of Node's own, not of the system.
  assert.ok(!isHosts(Object.assign(new Error('again'), { code: 'EAGAIN' })));
  assert.ok(!isHosts(new LaunchError('the VM crashed', { cause: new Error('it was torn') })));
  for (const other of [undefined, null, 'EAGAIN', { code: 'EAGAIN' }]) assert.ok(!isHosts(other));
});
