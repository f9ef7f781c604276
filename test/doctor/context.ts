/** A context for single checks, and what is asked of their findings, with a host that the test writes as files. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Finding, Status } from '../../src/doctor/check.ts';
import type { DoctorContext, Subject } from '../../src/doctor/context.ts';
import { HostProbes } from '../../src/doctor/host-probes.ts';
import { NO_SETTINGS } from '../../src/protocol/vmm-settings.ts';

export const SUBJECT: Subject = {
  configuration: null,
  guest: null,
  rootFileSystems: [],
  snapshotDirectory: null,
  functionCount: 0,
  memoryMib: null,
  settings: NO_SETTINGS,
};

export interface TestHost {
  readonly root: string;
  /** Writes a file of the host, such as "/proc/meminfo". */
  write(path: string, text: string | Uint8Array): string;
  context(subject?: Partial<Subject>): DoctorContext;
  remove(): void;
}

export function createHost(): TestHost {
  const root = mkdtempSync(join(tmpdir(), 'snapfaas-doctor-'));
  return {
    root,
    write(path, text) {
      const absolute = join(root, path);
      mkdirSync(dirname(absolute), { recursive: true });
      writeFileSync(absolute, text);
      return absolute;
    },
    context(subject = {}) {
      const whole = { ...SUBJECT, ...subject };
      return {
        subject: whole,
        probes: new HostProbes(whole.settings, whole.guest, null),
        runDirectory: new Error('there is none'),
        hostRoot: root,
      };
    },
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}

/** Whatever is not well has a remedy, unless the test says that there is none. */
export async function assertFinding(
  finding: Finding | Promise<Finding>,
  status: Status,
  detail: RegExp,
  remedy?: RegExp,
): Promise<void> {
  const found = await finding;
  assert.equal(found.status, status, JSON.stringify(found));
  assert.match(found.detail, detail);
  if (remedy === undefined) assert.equal(found.remedy, null);
  else assert.match(found.remedy ?? '', remedy);
  assert.doesNotMatch(`${found.detail}${found.remedy ?? ''}`, /\n/);
}
