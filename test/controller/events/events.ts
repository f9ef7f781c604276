/** Events for the tests of their stores. */
import { randomUUID } from 'node:crypto';
import type { EventStore, NewEvent, StoredEvent } from '../../../src/controller/events/event-store.ts';

export function newEvent(text: string, more: Partial<NewEvent> = {}): NewEvent {
  const payload = Buffer.from(JSON.stringify(text));
  const header = { arn: 'arn:aws:lambda:us-east-1:000000000000:function:f' };
  return { id: randomUUID(), target: 'function:f', payload, acceptedAt: 1000, header, hops: 0, ...more };
}

/** The texts of all events that are not settled, oldest first. */
export async function textsOf(store: EventStore): Promise<readonly string[]> {
  const texts: string[] = [];
  for (const event of [...store.events()].sort((a, b) => a.sequence - b.sequence))
    texts.push(await textOf(store, event));
  return texts;
}

export async function textOf(store: EventStore, event: StoredEvent): Promise<string> {
  return JSON.parse((await store.read(event)).payload.toString()) as string;
}
