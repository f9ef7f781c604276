/** Runs in snapctr. Events are many or long: what one answer holds of them. */
import type { FoundEvent, LogPage, LogPosition } from '../../../logs/log-reader.ts';

/** Of the events of one answer together, in bytes or so; the rest comes with the next one. */
export const MAX_ANSWER_CHARACTERS = 1024 * 1024;

/** As many of the events as have so many characters, but one at least. */
export function cut(
  events: readonly FoundEvent[],
  next: LogPosition | null,
  most = MAX_ANSWER_CHARACTERS,
): Pick<LogPage, 'events' | 'next'> {
  let characters = 0;
  const excess = events.findIndex(({ message }, at) => (characters += message.length) > most && at > 0);
  const first = events[excess];
  return first === undefined ? { events, next } : { events: events.slice(0, excess), next: first.position };
}

/** The last of the events, as `cut` has the first of them. */
export function cutFront(
  events: readonly FoundEvent[],
  next: LogPosition | null,
  most = MAX_ANSWER_CHARACTERS,
): Pick<LogPage, 'events' | 'next'> {
  let characters = 0;
  const last = events.length - 1;
  const excess = events.findLastIndex(({ message }, at) => (characters += message.length) > most && at < last);
  const first = events[excess + 1];
  return excess === -1 || first === undefined
    ? { events, next }
    : { events: events.slice(excess + 1), next: first.position };
}
