#!/usr/bin/env node
/** Makes functions' files ready for snapctr, which starts it. */
import { begin } from './begin.ts';

await begin(
  'builder',
  async () => {
    const { runBuilder } = await import('../builder/run.ts');
    await runBuilder();
    // Pipes to a program that does not read any more must not keep us.
    process.exit();
  },
  70,
);
