/** Runs in firerunner. Checks what snapctr, or a person, says of the host (`--vmm-settings`). */
import { z } from 'zod';
import type { VmmSettings } from '../protocol/runner.ts';

const path = z.string().min(1);
const count = z.number().int().min(0);
/** Users below it belong to the system; ids are 32 bits, of which the last is none. */
const SMALLEST_ID = 1000;
const LARGEST_ID = 2 ** 32 - 2;
const id = z.number().int().min(SMALLEST_ID).max(LARGEST_ID);

const settingsSchema = z.strictObject({
  firecracker: z
    .strictObject({ path: path.nullable().default(null), prestarted: count.default(0) })
    .nullable()
    .default(null),
  jailer: z
    .strictObject({
      path: path.nullable().default(null),
      firstUid: id,
      uidCount: count.min(1),
      gid: id.nullable().default(null),
      chrootBase: path.startsWith('/'),
      cgroup: z.record(z.string(), z.string()).default({}),
    })
    .refine(({ firstUid, uidCount }) => firstUid + uidCount - 1 <= LARGEST_ID, {
      path: ['uidCount'],
      error: `there are no users above ${LARGEST_ID}`,
    })
    .nullable()
    .default(null),
  network: z
    .strictObject({ taps: z.array(path).min(1), subnet: z.cidrv4(), dns: z.ipv4().nullable().default(null) })
    .nullable()
    .default(null),
});

export const NO_SETTINGS: VmmSettings = { firecracker: null, jailer: null, network: null };

/** The text is no JSON, or not of the shape of `VmmSettings`; the message says where. */
export class VmmSettingsError extends Error {
  override readonly name = 'VmmSettingsError';
}

/** @throws VmmSettingsError */
export function parseVmmSettings(text: string): VmmSettings {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new VmmSettingsError(`--vmm-settings is not JSON: ${cause instanceof Error ? cause.message : ''}`, { cause });
  }
  const result = settingsSchema.safeParse(value);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `${issue.path.join('.') || 'it'}: ${issue.message}`);
  throw new VmmSettingsError(`--vmm-settings: ${problems.join('; ')}`);
}
