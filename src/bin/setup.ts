/** `node dist/bin/setup.js start|test|bench [-- args…]`: brings what the mode needs, then runs it. */
import { runSetup } from '../setup/setup.ts';

process.exitCode = await runSetup(process.argv.slice(2));
