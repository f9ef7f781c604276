/** What V8 compiles in threads of its own while code gets hot, and installs when that code runs the next time. */
import v8 = require('node:v8');
import vm = require('node:vm');

/** The second time what the first has left to the threads: to free what it took. */
const ROUNDS = 2;

/**
 * Has V8 finish and install what it is compiling: else a snapshot holds the work undone, and each VM that is restored from it does
 * it, on the way of its first request.
 */
export function finishCompilation(): void {
  v8.setFlagsFromString('--allow-natives-syntax');
  try {
    for (let round = 0; round < ROUNDS; round += 1) vm.runInThisContext('%FinalizeOptimization()');
  } catch {
    // A V8 without this function: its VMs do the work.
  } finally {
    v8.setFlagsFromString('--no-allow-natives-syntax');
  }
}
