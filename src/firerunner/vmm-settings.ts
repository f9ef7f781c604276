/** Runs in firerunner. Checks what snapctr, or a person, says of the host (`--vmm-settings`). */
import { messageOf } from '../protocol/errors.ts';
import { vmmSettingsSchema, type VmmSettings } from '../protocol/vmm-settings.ts';

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
    throw new VmmSettingsError(`--vmm-settings is not JSON: ${messageOf(cause)}`, { cause });
  }
  const result = vmmSettingsSchema.safeParse(value);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `${issue.path.join('.') || 'it'}: ${issue.message}`);
  throw new VmmSettingsError(`--vmm-settings: ${problems.join('; ')}`);
}
