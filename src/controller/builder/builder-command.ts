/** Runs in snapctr. How the builder is started. */
import { fileURLToPath } from 'node:url';

/** The builder's program and arguments. */
export function builderCommand(): readonly string[] {
  return [process.execPath, fileURLToPath(new URL('../../bin/builder.js', import.meta.url))];
}
