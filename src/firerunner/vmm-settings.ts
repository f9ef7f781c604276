/** Runs in firerunner. `--vmm-settings`: what snapctr says of the host once, as JSON. */
import { z } from 'zod';
import type { VmmSettings } from '../protocol/runner.ts';

const path = z.string().startsWith('/');
const count = z.int().min(0);

const schema: z.ZodType<VmmSettings> = z.strictObject({
  firecracker: z.strictObject({ path: path.nullable(), prestarted: count }).nullable(),
  jailer: z
    .strictObject({
      path: path.nullable(),
      firstUid: count,
      uidCount: count,
      gid: count.nullable(),
      chrootBase: path,
      cgroup: z.record(z.string(), z.string()),
    })
    .nullable(),
  network: z
    .strictObject({ taps: z.array(z.string().min(1)).min(1), subnet: z.cidrv4(), dns: z.ipv4().nullable() })
    .nullable(),
});

/** What holds if nothing is said. */
export const NO_SETTINGS: VmmSettings = { firecracker: null, jailer: null, network: null };

/** @throws Error that says what does not fit. */
export function parseVmmSettings(text: string): VmmSettings {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`--vmm-settings must be JSON: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new Error(`--vmm-settings: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'does not fit'}`);
}
