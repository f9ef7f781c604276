/**
 * Loaded into snapctr and firerunner by NODE_OPTIONS=--import: each second writes what the process has of memory and how long
 * its event loop stood still, a line of JSON each, to SNAPFAAS_PROBE_DIR/PROGRAM-PID.jsonl (`support/probed.ts` reads it).
 * On SIGUSR2 a heap snapshot is written to the temporary directory, to compare with a later one in Chromium's tools.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { PerformanceObserver } from 'node:perf_hooks';
import { writeHeapSnapshot } from 'node:v8';

const INTERVAL_MS = 1000;
/** How often the loop is looked at, in ms; shorter pauses are not seen. */
const TICK_MS = 5;

const directory = process.env.SNAPFAAS_PROBE_DIR;
const program = basename(process.argv[1] ?? '', '.js');
if (directory !== undefined && ['snapctr', 'firerunner'].includes(program)) {
  watch(join(directory, `${program}-${process.pid}.jsonl`));
}

function watch(file) {
  let liveBytes = null;
  // What is left after a full collection is in use.
  new PerformanceObserver((list) => {
    if (list.getEntries().some(({ detail }) => detail.kind === 4)) liveBytes = process.memoryUsage().heapUsed;
  }).observe({ entryTypes: ['gc'] });

  process.on('SIGUSR2', () => {
    writeHeapSnapshot(join(tmpdir(), `${program}-${process.pid}-${Math.round(process.uptime())}s.heapsnapshot`));
  });

  let pauseMs = 0;
  let last = { wallMs: performance.now(), cpuMs: threadCpuMs() };
  const restart = () => {
    pauseMs = 0;
    last = { wallMs: performance.now(), cpuMs: threadCpuMs() };
  };
  setInterval(() => {
    const now = { wallMs: performance.now(), cpuMs: threadCpuMs() };
    // Late by the machine's other work is not late by ours: the thread must have been running all the while.
    const late = Math.min(now.wallMs - last.wallMs - TICK_MS, now.cpuMs - last.cpuMs);
    pauseMs = Math.max(pauseMs, late);
    last = now;
  }, TICK_MS).unref();

  if (program === 'firerunner') onFirstWrite(process.stdout, restart);

  setInterval(() => {
    const { rss, heapUsed, external } = process.memoryUsage();
    const line = JSON.stringify({ at: Date.now(), rss, heapUsed, external, liveBytes, pauseMs });
    appendFileSync(file, `${line}\n`);
    pauseMs = 0;
  }, INTERVAL_MS).unref();
}

/** What firerunner says first is that it serves: loading its modules is no pause of what it serves. */
function onFirstWrite(stream, call) {
  const { write } = stream;
  stream.write = (...args) => {
    stream.write = write;
    call();
    return write.apply(stream, args);
  };
}

/** Time that the main thread has spent on a processor, in ms. */
function threadCpuMs() {
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ', 1)[0]) / 1e6;
}
