/**
 * Runs in snapctr. What `snapctr events` asks: which events wait or are dead, and what is to become of the dead ones. An API of our
 * own, in the protocol of the Logs API: AWS has none of this kind.
 */
import { callerOf, type AuditLog } from '../../../auth/audit-log.ts';
import type { Caller } from '../../../auth/caller.ts';
import type { Operation } from '../../../auth/operations.ts';
import type { EventDispatcher } from '../../events/dispatcher.ts';
import { EventStoreError, type EventState, type StoredEvent } from '../../events/event-store.ts';
import { parseTarget, type Target } from '../../events/target.ts';
import type { Json, JsonApi } from '../json/api.ts';
import { JsonApiError, type Body } from '../json/body.ts';

/** In an answer, or of those that one request changes. */
const MAX_EVENTS = 1000;

const STATUSES: readonly string[] = ['pending', 'dead'] satisfies readonly EventState['status'][];
type Change = Extract<Operation, 'snapfaas:RedriveEvents' | 'snapfaas:PurgeEvents'>;

type Events = Pick<EventDispatcher, 'events' | 'find' | 'read' | 'dead' | 'redrive' | 'purge'>;

export class EventsApi implements JsonApi {
  readonly name = 'SnapfaasEvents';
  readonly service = 'lambda';
  readonly #events: Events;
  readonly #audit: Pick<AuditLog, 'add'>;
  readonly #isFunction: (name: string) => boolean;

  /** @param audit is told who had which events begin anew, or removed them. */
  constructor(events: Events, audit: Pick<AuditLog, 'add'>, isFunction: (name: string) => boolean) {
    this.#events = events;
    this.#audit = audit;
    this.#isFunction = isFunction;
  }

  async run(operation: string, body: Body, caller: Caller): Promise<Json> {
    switch (operation) {
      case 'ListEvents':
        return this.#list(body, caller);
      case 'GetEvent':
        return this.#get(body, caller);
      case 'RedriveEvents':
        return this.#change(body, caller, 'snapfaas:RedriveEvents', (event) => this.#events.redrive(event));
      case 'PurgeEvents':
        return this.#change(body, caller, 'snapfaas:PurgeEvents', (event) => this.#events.purge(event));
      default:
        throw new JsonApiError('UnknownOperationException', `${operation} is not offered`);
    }
  }

  #list(body: Body, caller: Caller): Json {
    caller.authorize('snapfaas:ListEvents');
    const place = placeOf(body);
    if (place !== null) this.#checkKnown(place, mayListPlace(caller, place));
    const status = body.string('status');
    if (status !== null && !STATUSES.includes(status)) {
      throw new JsonApiError('InvalidParameterException', `'status' must be one of ${STATUSES.join(', ')}`);
    }
    const after = afterOf(body.string('nextToken'));
    const limit = body.integer('limit', 1, MAX_EVENTS) ?? MAX_EVENTS;
    const found: StoredEvent[] = [];
    for (const event of this.#events.events()) {
      if (event.sequence <= after || !isFor(event, place) || (status !== null && event.state.status !== status))
        continue;
      if (!mayList(caller, event)) continue;
      found.push(event);
      if (found.length > limit) break;
    }
    const page = found.slice(0, limit);
    const last = page.at(-1);
    return {
      events: page.map(shown),
      ...(found.length > limit && last !== undefined ? { nextToken: String(last.sequence) } : {}),
    };
  }

  async #get(body: Body, caller: Caller): Promise<Json> {
    const event = this.#find(body.integer('event', 0), caller, 'snapfaas:GetEvent');
    const { id, payload, hops } = await this.#events.read(event).catch((error: unknown) => {
      throw error instanceof EventStoreError && error.code === 'closed' ? unknown(event.sequence) : error;
    });
    return { ...shown(event), requestId: id, destinationHops: hops, payload: payload.toString('utf8') };
  }

  /** Of one dead event, or of all of a function or another destination, as many as one request may change. */
  async #change(
    body: Body,
    caller: Caller,
    operation: Change,
    change: (event: StoredEvent) => Promise<void>,
  ): Promise<Json> {
    const number = body.integer('event', 0);
    const place = placeOf(body);
    if ((number === null) === (place === null)) {
      const what = "give 'event', its number, or one of 'functionName' and 'target', whose dead events are meant";
      throw new JsonApiError('InvalidParameterException', what);
    }
    const name = place?.kind === 'function' ? place.name : null;
    if (place !== null) {
      authorize(caller, operation, place);
      this.#checkKnown(place, true);
    }
    const events =
      number === null
        ? [...this.#events.dead.all()].filter((event) => isFor(event, place)).slice(0, MAX_EVENTS)
        : [this.#find(number, caller, operation)];
    let changed = 0;
    try {
      for (const event of events) {
        if (event.state.status !== 'dead') {
          const what = `event ${event.sequence} is pending: it is tried again by itself`;
          throw new JsonApiError('InvalidParameterException', what);
        }
        // Another request may have been faster.
        if (!this.#events.dead.has(event)) continue;
        await change(event);
        changed += 1;
      }
    } finally {
      // Also of those before one that could not be changed.
      if (changed > 0) await this.#note(operation, caller, name ?? functionOf(events[0]), number, changed);
    }
    return { changed, hasMore: number === null && events.length === MAX_EVENTS };
  }

  /** Where an event goes that is for no function is not told: a URL may have a secret in it. */
  #note(operation: Change, caller: Caller, name: string | null, event: number | null, changed: number): Promise<void> {
    return this.#audit.add({
      action: operation,
      ...callerOf(caller),
      function: name,
      ...(event === null ? {} : { event }),
      changed,
    });
  }

  /** @throws JsonApiError ResourceNotFoundException; AccessError. */
  #find(number: number | null, caller: Caller, operation: Operation): StoredEvent {
    if (number === null) throw new JsonApiError('InvalidParameterException', "'event' must be given: its number");
    const event = this.#events.find(number);
    if (event === null) {
      caller.authorize('snapfaas:ListEvents');
      throw unknown(number);
    }
    authorize(caller, operation, parseTarget(event.target));
    return event;
  }

  /** A function that is gone is known as long as there are events for it. @throws JsonApiError ResourceNotFoundException */
  #checkKnown(place: Place, mayKnow: boolean): void {
    if (mayKnow && place.kind === 'function' && this.#isFunction(place.name)) return;
    for (const event of this.#events.events()) if (mayKnow && isFor(event, place)) return;
    const what = place.kind === 'function' ? `no function ${place.name}` : `nothing kept for ${place.target}`;
    throw new JsonApiError('ResourceNotFoundException', `there is ${what}; see "snapctr events list"`);
  }
}

/** Whose events are meant: all of a function, whatever their version or alias, or those of one target. */
type Place = { readonly kind: 'function'; readonly name: string } | { readonly kind: 'other'; readonly target: string };

/** @returns null: nobody's in particular. @throws JsonApiError if both members are there, or one is no text. */
function placeOf(body: Body): Place | null {
  const [name, target] = [body.string('functionName'), body.string('target')];
  if (name !== null && target !== null) {
    throw new JsonApiError('InvalidParameterException', "give one of 'functionName' and 'target', not both");
  }
  if (name !== null) return { kind: 'function', name };
  if (target === null) return null;
  const parsed = parseTarget(target);
  return parsed.kind === 'function' ? { kind: 'function', name: parsed.name } : { kind: 'other', target };
}

/** What goes to files and over HTTP concerns no function alone. */
function authorize(caller: Caller, operation: Operation, place: Place | Target): void {
  if (place.kind === 'function') caller.authorize(operation, place.name);
  else caller.authorize('snapfaas:ReadStatus');
}

/** @throws JsonApiError for a token that no answer had. */
function afterOf(token: string | null): number {
  if (token === null) return -1;
  if (/^\d{1,15}$/.test(token)) return Number(token);
  throw new JsonApiError('InvalidParameterException', "'nextToken' must be that of the answer before");
}

function functionOf(event: StoredEvent | undefined): string | null {
  const place = event === undefined ? null : parseTarget(event.target);
  return place?.kind === 'function' ? place.name : null;
}

function unknown(number: number): JsonApiError {
  return new JsonApiError('ResourceNotFoundException', `there is no event ${number}: it is done, or never was`);
}

function isFor({ target }: StoredEvent, place: Place | null): boolean {
  if (place === null) return true;
  if (place.kind === 'other') return target === place.target;
  const to = parseTarget(target);
  return to.kind === 'function' && to.name === place.name;
}

/** What goes to files and over HTTP concerns no function alone. */
function mayList(caller: Caller, { target }: StoredEvent): boolean {
  return mayListPlace(caller, parseTarget(target));
}

function mayListPlace(caller: Caller, place: Place | Target): boolean {
  if (place.kind === 'function') return caller.mayList(place.name);
  try {
    caller.authorize('snapfaas:ReadStatus');
    return true;
  } catch {
    return false;
  }
}

function shown({ sequence, target, acceptedAt, bytes, state }: StoredEvent): Json {
  const { status, tries, at, reason } = state;
  return { event: sequence, target, status, tries, bytes, acceptedAt, at, ...(reason === null ? {} : { reason }) };
}
