/** Runs in the fakes: the first argument is the program that is played, the rest its own command line. */
import { runJailer } from './jailer.ts';
import { runFirecracker } from './main.ts';

const [program, ...argv] = process.argv.slice(2);
if (program === 'firecracker') await runFirecracker(argv);
else if (program === 'jailer') runJailer(argv);
else throw new Error(`expected firecracker or jailer as the first argument, got ${String(program)}`);
