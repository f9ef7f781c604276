import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exitError, HostError, isHosts, LaunchError } from '../../src/firerunner/machine.ts';

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

test("an end of a VMM is the host's by its signal or by its last words", () => {
  const isHostsEnd = (signal: NodeJS.Signals | null, console: readonly string[] = []): boolean => {
    const error = exitError({ status: signal === null ? 1 : null, signal, reason: 'it ended' }, console);
    assert.deepEqual([error.message, error.console], ['it ended', console]);
    return isHosts(error);
  };
  // SIGBUS: a full disk does not give a mapped file its pages.
  for (const signal of ['SIGKILL', 'SIGTERM', 'SIGBUS'] as const) assert.ok(isHostsEnd(signal), signal);
  for (const signal of ['SIGSEGV', 'SIGABRT', 'SIGSYS', null] as const) assert.ok(!isHostsEnd(signal), String(signal));
  assert.ok(isHostsEnd(null, ['qemu-system-x86_64: cannot set up guest memory: Cannot allocate memory']));
  assert.ok(!isHostsEnd(null, ['a function: Cannot allocate memory']));
});
