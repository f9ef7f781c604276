import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatConclusion, formatResult } from '../../src/doctor/report.ts';

const WARNING = { name: 'swap', status: 'warning', detail: '1 MiB', remedy: 'swapoff -a' } as const;
const GOOD = { ok: true, vmm: 'qemu', accelerator: 'tcg', reason: 'qemu with tcg: …', checks: [WARNING] } as const;
const BAD = { ok: false, vmm: null, accelerator: null, reason: 'functions cannot (kernel)', checks: [] } as const;

test('report: a check is one aligned line, with its remedy below', () => {
  const [line = '', remedy = '', end] = formatResult(WARNING, false).split('\n');
  assert.match(line, /^warning {2}swap {2,}1 MiB$/);
  assert.equal(remedy, `${' '.repeat(line.indexOf('1 MiB'))}→ swapoff -a`);
  assert.equal(end, '');
  const good = formatResult({ ...WARNING, name: 'snapshot-directory', status: 'ok', remedy: null }, false);
  assert.equal(good.indexOf('1 MiB'), line.indexOf('1 MiB'));
  assert.equal(good.split('\n').length, 2);
});

test('report: the last line says what functions run in, or that they cannot', () => {
  assert.match(formatConclusion(GOOD, false), /^\nFunctions run in VMs here: qemu with tcg\. Warnings: 1;/);
  assert.equal(
    formatConclusion({ ...GOOD, vmm: 'firecracker', accelerator: null, checks: [] }, false),
    '\nFunctions run in VMs here: firecracker.\n',
  );
  assert.equal(formatConclusion(BAD, false), '\nFunctions cannot (kernel).\n');
});

test('report: colour is for terminals', () => {
  const escape = '\u001b[';
  assert.equal(formatResult(WARNING, false).includes(escape), false);
  assert.equal(formatResult(WARNING, true).includes(escape), true);
  assert.equal(formatConclusion(GOOD, true).includes(escape), true);
});
