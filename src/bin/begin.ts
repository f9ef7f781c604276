/**
 * Runs in each program, before anything else of it is read. A host that has too little to start it gets a sentence instead of a
 * stack trace: reading the program's files takes a descriptor for each, many at once.
 */
import { readFileSync } from 'node:fs';

/** What starting takes at most, and some for what is run. */
const NEEDED_DESCRIPTORS = 256;

/**
 * @param load reads the program and runs it.
 * @param failed exit status if it cannot be read, or breaks off by an error that it does not know.
 */
export async function begin(name: string, load: () => Promise<unknown>, failed: number): Promise<void> {
  const descriptors = descriptorLimit();
  if (descriptors < NEEDED_DESCRIPTORS) {
    return end(
      `a process may open only ${descriptors} files here, and ${NEEDED_DESCRIPTORS} are needed; raise it: ulimit -n 4096`,
    );
  }
  try {
    await load();
  } catch (error) {
    end(error instanceof Error ? error.message : String(error));
  }

  function end(message: string): void {
    process.stderr.write(`${name}: ${message}\n`);
    process.exit(failed);
  }
}

/** Node has raised it as far as it may. */
function descriptorLimit(): number {
  try {
    const [, soft] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    return soft === undefined ? Infinity : Number(soft);
  } catch {
    // Not on Linux.
    return Infinity;
  }
}
