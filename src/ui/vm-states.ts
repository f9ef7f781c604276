/** Runs in the live page. What the states of VMs are called. */
import type { VmStateName } from '../protocol/live-state.ts';

const TEXTS: Readonly<Record<VmStateName, string>> = {
  busy: 'busy',
  idle: 'idle',
  kept: 'kept ready',
  ahead: 'launched ahead',
  launching: 'launching',
  evicted: 'evicted',
  ended: 'ended',
};

/** Those that the legend counts; one that has ended is gone in a moment. */
export const COUNTED_STATES: readonly VmStateName[] = ['busy', 'idle', 'kept', 'ahead', 'launching', 'evicted'];

export function stateText(state: VmStateName | undefined): string {
  return state === undefined ? '–' : TEXTS[state];
}
