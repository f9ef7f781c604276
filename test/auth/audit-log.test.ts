import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { AuditLog, type AuditLine } from '../../src/auth/audit-log.ts';

const LINE: AuditLine = { action: 'snapfaas:PurgeEvents', by: 'ci', changed: 3 };

async function withDirectory(use: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'audit-'));
  try {
    await use(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test('audit log: lines are added at the end, for the owner alone, whether somebody waits for them or not', () =>
  withDirectory(async (directory) => {
    const path = join(directory, 'audit.jsonl');
    const log = new AuditLog(path, (line) => assert.fail(JSON.stringify(line)));
    log.write({ ...LINE, changed: 0 });
    await Promise.all([1, 2, 3, 4].map((changed) => log.add({ ...LINE, changed })));
    log.write({ ...LINE, changed: 5 });
    const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
    const told = lines.map((line) => JSON.parse(line) as AuditLine & { time: string });
    assert.deepEqual(told.map((line) => line['changed']).sort(), [0, 1, 2, 3, 4, 5]);
    for (const { time, action, by } of told) {
      assert.match(time, /^\d{4}-.*Z$/);
      assert.deepEqual([action, by], [LINE.action, LINE.by]);
    }
    assert.equal(statSync(path).mode & 0o777, 0o600);
  }));

test('audit log: a line that cannot be written is told elsewhere, with the reason', () =>
  withDirectory(async (directory) => {
    symlinkSync(join(directory, 'elsewhere'), join(directory, 'link'));
    for (const path of [directory, join(directory, 'link'), join(directory, 'none/audit.jsonl')]) {
      const told: AuditLine[] = [];
      const log = new AuditLog(path, (line) => void told.push(line));
      await log.add(LINE);
      log.write(LINE);
      assert.equal(told.length, 2);
      for (const line of told) assert.ok(String(line['auditProblem']).startsWith(`${path} cannot be written: `));
    }
    const told: AuditLine[] = [];
    await new AuditLog(null, (line) => void told.push(line)).add(LINE);
    assert.deepEqual(told, [LINE]);
  }));
