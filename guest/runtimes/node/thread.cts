/** Runs in each worker thread before any code of the function: `threads.cts` sees to it. */
import { PRELOAD, prepareThread } from './threads.cjs';

// Nothing that the function has asked for. Node's own default for the thread's workers is given by `prepareThread`.
process.execArgv.splice(0, PRELOAD.length);
prepareThread();
