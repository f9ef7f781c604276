/** Runs in snapctr. What follows from an event that is done: an event of its own for each of those that are told. */
import { functionArn, type LambdaAccount } from '../../protocol/arn.ts';
import { newTaskId } from '../task.ts';
import { deadLetterAttributes } from './dead-letter.ts';
import type { EventSettings } from './event-settings.ts';
import type { EventContents, NewEvent } from './event-store.ts';
import { invocationRecord, type Ending } from './invocation-record.ts';
import { parseTarget, type Target } from './target.ts';

/** The places of the settings that are told of an ending. */
export function toldOf(ending: Ending, settings: EventSettings): readonly string[] {
  const { onSuccess, onFailure, deadLetter } = settings;
  const told = ending.condition === 'Success' ? [onSuccess] : [onFailure, deadLetter];
  return told.filter((target) => target !== null);
}

/**
 * Destinations are told by the invocation record, the dead-letter target by the event itself.
 *
 * @param reason why it failed.
 * @param now in ms since 1970, by the clock of the events.
 */
export function followersOf(
  account: LambdaAccount,
  { name, qualifier }: Extract<Target, { kind: 'function' }>,
  contents: EventContents,
  ending: Ending,
  settings: EventSettings,
  reason: string,
  now: number,
): readonly NewEvent[] {
  const { onSuccess, onFailure, deadLetter } = settings;
  const isSuccess = ending.condition === 'Success';
  const destination = isSuccess ? onSuccess : onFailure;
  const followers: NewEvent[] = [];
  if (destination !== null) {
    const payload = invocationRecord(account, name, qualifier, contents, ending, now);
    followers.push(follower(account, destination, contents, payload, now));
  }
  if (!isSuccess && deadLetter !== null) {
    const attributes = deadLetterAttributes(contents.id, ending, reason);
    followers.push({ ...follower(account, deadLetter, contents, contents.payload, now), attributes });
  }
  return followers;
}

function follower(
  account: LambdaAccount,
  target: string,
  { id, hops, header: before }: EventContents,
  payload: Buffer,
  now: number,
): NewEvent {
  const to = parseTarget(target);
  // A request of its own for a function, in the same trace; else the request whose end it tells of.
  const isFunction = to.kind === 'function';
  const header = isFunction
    ? {
        arn: functionArn(account, to.name) + (to.qualifier === null ? '' : `:${to.qualifier}`),
        ...(before?.trace !== undefined && { trace: before.trace }),
      }
    : null;
  return { id: isFunction ? newTaskId() : id, target, payload, acceptedAt: now, header, hops: hops + 1 };
}
