/**
 * Runs in snapctr. What `snapctr events` asks: which events wait or are dead, and what is to become of the dead ones. An API of our
 * own, in the protocol of the Logs API: AWS has none of this kind.
 */
import type { AuditLog } from '../../../auth/audit-log.ts';
import type { Caller } from '../../../auth/caller.ts';
import type { Operation } from '../../../auth/operations.ts';
import type { EventDispatcher } from '../../events/dispatcher.ts';
import { EventStoreError, type StoredEvent } from '../../events/event-store.ts';
import { parseTarget } from '../../events/target.ts';
import type { Json, JsonApi } from '../json/api.ts';
import { JsonApiError, type Body } from '../json/body.ts';

/** In an answer, or of those that one request changes. */
const MAX_EVENTS = 1000;

const ACTIONS = { 'snapfaas:RedriveEvents': 'events.redrive', 'snapfaas:PurgeEvents': 'events.purge' } as const;
type Change = keyof typeof ACTIONS & Operation;

type Events = Pick<EventDispatcher, 'events' | 'find' | 'read' | 'dead' | 'redrive' | 'purge'>;

export class EventsApi implements JsonApi {
  readonly name = 'SnapfaasEvents';
  readonly service = 'lambda';
  readonly #events: Events;
  readonly #audit: Pick<AuditLog, 'add'>;

  /** @param audit is told who had which events begin anew, or removed them. */
  constructor(events: Events, audit: Pick<AuditLog, 'add'>) {
    this.#events = events;
    this.#audit = audit;
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
    const name = body.string('functionName');
    const status = body.string('status');
    const after = afterOf(body.string('nextToken'));
    const limit = body.integer('limit', 1, MAX_EVENTS) ?? MAX_EVENTS;
    const found: StoredEvent[] = [];
    for (const event of this.#events.events()) {
      if (event.sequence <= after || !isFor(event, name) || (status !== null && event.state.status !== status))
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

  /** Of one dead event, or of all of a function, as many as one request may change. */
  async #change(
    body: Body,
    caller: Caller,
    operation: Change,
    change: (event: StoredEvent) => Promise<void>,
  ): Promise<Json> {
    const number = body.integer('event', 0);
    const name = number === null ? body.required('functionName') : null;
    if (name !== null) caller.authorize(operation, name);
    const events =
      number === null
        ? [...this.#events.dead.all()].filter((event) => isFor(event, name)).slice(0, MAX_EVENTS)
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
  #note(operation: Change, { key }: Caller, name: string | null, event: number | null, changed: number): Promise<void> {
    return this.#audit.add({
      action: ACTIONS[operation],
      by: key?.name ?? 'anybody',
      ...(key === null ? {} : { key }),
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
    const target = parseTarget(event.target);
    if (target.kind === 'function') caller.authorize(operation, target.name);
    else caller.authorize('snapfaas:ReadStatus');
    return event;
  }
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

function isFor({ target }: StoredEvent, name: string | null): boolean {
  if (name === null) return true;
  const place = parseTarget(target);
  return place.kind === 'function' && place.name === name;
}

/** What goes to files and over HTTP concerns no function alone. */
function mayList(caller: Caller, { target }: StoredEvent): boolean {
  const place = parseTarget(target);
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
