/** Runs in the commands of people. What is known of an invocation, in sentences: why did it take so long? */
import type { KnownInvocation, KnownLaunch } from './invocations-client.ts';

/** Below this nothing is said of a wait, in ms. */
const NO_WAIT_MS = 0.5;

/** Lines without an end. @param now ms since 1970. */
export function explain(invocation: KnownInvocation, now: number): readonly string[] {
  const { launch } = invocation;
  return [
    headline(invocation, now),
    ...endOf(invocation),
    ...waitOf(invocation),
    ...(launch === null ? [] : launchOf(invocation, launch, now)),
    ...runOf(invocation),
    ...workOf(launch),
  ];
}

function headline(invocation: KnownInvocation, now: number): string {
  const { requestId, function: name, version, eventTry, submittedAt, endedAt } = invocation;
  const of = version === null || version === '$LATEST' ? name : `${name}:${version}`;
  const tried = eventTry === null ? '' : ` (an event, try ${eventTry})`;
  return `${requestId}: ${of}${tried}, ${inMs(endedAt - submittedAt)} in all, ${inWords(now - endedAt)} ago.`;
}

function endOf({ outcome, message, start, launch, durationMs }: KnownInvocation): readonly string[] {
  if (outcome === 'ok') return ['It was answered well.'];
  const why = message === null ? '' : `: ${message}`;
  if (start !== null || durationMs > 0) return [`It failed with ${outcome}${why}`];
  if (launch !== null) return [`Its VM did not come up; it failed with ${outcome}${why}`];
  return [`It was refused with ${outcome}, and reached no VM${why}`];
}

const WAITED_FOR: Readonly<Record<string, string>> = {
  turn: 'for those before it, or a worker',
  concurrency_limit: 'until fewer of its function ran: its concurrency limit was reached',
  own_vm: 'for a VM of its function, which was to be free sooner than another one could start',
  memory: 'for memory: no idle VM could make room for it',
  tap: 'for a network: all taps were in use',
  deployment: 'until a version of its function could run',
};

function waitOf({ queueMs, waits }: KnownInvocation): readonly string[] {
  if (queueMs < NO_WAIT_MS) return [];
  const parts = Object.entries(waits ?? { turn: queueMs }).filter(([, ms]) => ms >= NO_WAIT_MS);
  return parts.map(([reason, ms]) => `It waited ${inMs(ms)} ${WAITED_FOR[reason] ?? `for ${reason}`}.`);
}

function launchOf(invocation: KnownInvocation, launch: KnownLaunch, now: number): readonly string[] {
  return [
    ...whyLaunched(invocation, launch, now),
    ...(launch.settleMs < NO_WAIT_MS
      ? []
      : [`Its VM waited ${inMs(launch.settleMs)} for VMs to end whose memory it got.`]),
    ...(launch.turnMs < NO_WAIT_MS
      ? []
      : [`Its launch waited ${inMs(launch.turnMs)} for its turn among others, or for a snapshot.`]),
    ...howLaunched(invocation, launch),
  ];
}

function whyLaunched({ endedAt }: KnownInvocation, { cause, waitMs }: KnownLaunch, now: number): readonly string[] {
  if (cause === null) {
    return waitMs < NO_WAIT_MS ? [] : ['It took over a launch whose request had gone.'];
  }
  const { busyVms, lastEnd, notAhead, evicted } = cause;
  const lines: string[] = [];
  if (busyVms > 0) {
    lines.push(
      `No VM was idle: ${busyVms === 1 ? 'the one of its version was' : `all ${busyVms} of its version were`} busy.`,
    );
  } else if (lastEnd === null) lines.push('Its version had no VM yet.');
  else {
    const when = `${inWords(Math.max(0, Math.min(now, endedAt) - lastEnd.at))} before`;
    const why = lastEnd.isEvicted ? `was evicted for ${lastEnd.reason}` : `had ended: ${lastEnd.reason}`;
    lines.push(`Its version had no VM: the last one ${why}, ${when}.`);
  }
  const words = notAhead === null ? undefined : NOT_AHEAD[notAhead];
  if (words !== undefined) lines.push(`None was launched ahead: ${words}.`);
  if (evicted.length > 0) {
    const victims = evicted.map(
      ({ vm, function: name, version }) => `${vm} of ${name}${version === '$LATEST' ? '' : `:${version}`}`,
    );
    lines.push(`To make room for it, ${victims.join(', ')} ${victims.length === 1 ? 'was' : 'were'} evicted.`);
  }
  return lines;
}

const NOT_AHEAD: Readonly<Record<string, string>> = {
  off: 'VMs are launched ahead only with a `standby` budget',
  no_snapshot: 'its function had no snapshot to restore from',
  launch_failed: 'the last try had failed',
  no_memory: 'the budget, or the memory that was free, did not suffice',
  no_tap: 'no tap was free',
  not_expected: 'it had as many VMs as its requests had needed at once',
  not_yet: 'others came first, or it was used just before',
};

function howLaunched(
  { start, vm }: KnownInvocation,
  { timings, isAhead, waitMs, fallback }: KnownLaunch,
): readonly string[] {
  if (timings === null) {
    if (start === 'warm')
      return [`After ${inMs(waitMs)} another VM of its function, ${vm ?? ''}, was free first, and took it.`];
    return [`It waited ${inMs(waitMs)} for its launch.`];
  }
  const { kind, spawnMs, bootMs, loadMs, resumeMs } = timings;
  const parts = [
    `${inMs(spawnMs)} to start its VMM`,
    ...(kind === 'cold'
      ? [`${inMs(bootMs)} to boot`, `${inMs(loadMs)} to load the function`]
      : [`${inMs(loadMs)} to load the snapshot`]),
    `${inMs(resumeMs)} to set clock and random numbers and to run hooks`,
  ].join(', ');
  const how = kind === 'cold' ? 'booted' : "restored from its function's snapshot";
  const launched = isAhead
    ? `${vm ?? 'Its VM'} was ${how} before the request came (${parts}).`
    : `${vm ?? 'Its VM'} was ${how} for it, and was waited for ${inMs(waitMs)} (${parts}).`;
  if (kind === 'restored')
    return fallback === null ? [launched] : [launched, `A better snapshot was not used: ${fallback}.`];
  return [launched, `It was not restored: ${fallback ?? 'no snapshots are used here'}.`];
}

function runOf({ start, vm, durationMs, wakeMs }: KnownInvocation): readonly string[] {
  if (start === null) return [];
  const run =
    start === 'warm'
      ? `It ran for ${inMs(durationMs)} on ${vm ?? 'a VM'}, which had served before.`
      : `Its function answered after ${inMs(durationMs)}, as the first request on its VM.`;
  return wakeMs === null ? [run] : [run, `Its VM was paused: it had its CPU again after ${inMs(wakeMs)}.`];
}

function workOf(launch: KnownLaunch | null): readonly string[] {
  if (launch?.work == null) return [];
  const { cpuMs, faults, diskFaults } = launch.work;
  const read = diskFaults === 0 ? 'none of it' : `${inMib(diskFaults)} of it`;
  const touched = `touched ${inMib(faults)} of memory (${faults} page faults), ${read} read from a disk`;
  return [`Until its first answer its VM used ${cpuMs} ms of processor time, and ${touched}.`];
}

function inMib(pages: number): string {
  const mib = pages / 256;
  return `${mib < 1 ? mib.toFixed(2) : mib.toFixed(1)} MiB`;
}

function inMs(ms: number): string {
  return ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${ms.toFixed(1)} ms`;
}

function inWords(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  return seconds < 7200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(0)} h`;
}
