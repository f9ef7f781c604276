import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Channel } from '../../src/controller/channel.ts';

interface Item {
  readonly name: string;
  readonly signal: AbortSignal;
}

const never = new AbortController().signal;
const item = (name: string, signal = never): Item => ({ name, signal });
const ignore = (): void => undefined;

test('channel: a waiting receiver gets the next item', async () => {
  const channel = new Channel<Item>(1, ignore);
  const received = channel.receive();
  channel.send(item('a'));
  assert.equal((await received)?.name, 'a');
});

test('channel: items come out in the order they went in', async () => {
  const channel = new Channel<Item>(3, ignore);
  for (const name of ['a', 'b', 'c']) channel.send(item(name));
  const names = [await channel.receive(), await channel.receive(), await channel.receive()].map((i) => i?.name);
  assert.deepEqual(names, ['a', 'b', 'c']);
});

test('channel: refuses when full, and takes again when there is room', async () => {
  const channel = new Channel<Item>(1, ignore);
  channel.send(item('a'));
  assert.throws(() => channel.send(item('b')), { code: 'queue_full' });
  await channel.receive();
  channel.send(item('c'));
  assert.equal(channel.length, 1);
});

test('channel: an item given up while it waits makes room and reaches nobody', async () => {
  const abandoned: string[] = [];
  const channel = new Channel<Item>(1, (gone) => abandoned.push(gone.name));
  const client = new AbortController();
  channel.send(item('a', client.signal));
  client.abort();
  channel.send(item('b'));
  assert.deepEqual(abandoned, ['a']);
  assert.equal((await channel.receive())?.name, 'b');
});

test('channel: an item given up after a receiver took it is not reported as abandoned', async () => {
  const abandoned: string[] = [];
  const channel = new Channel<Item>(1, (gone) => abandoned.push(gone.name));
  const client = new AbortController();
  channel.send(item('a', client.signal));
  await channel.receive();
  client.abort();
  assert.deepEqual(abandoned, []);
});

test('channel: closing refuses new items, hands out the waiting ones, then null', async () => {
  const channel = new Channel<Item>(2, ignore);
  channel.send(item('a'));
  channel.close();
  assert.throws(() => channel.send(item('b')), { code: 'shutting_down' });
  assert.equal((await channel.receive())?.name, 'a');
  assert.equal(await channel.receive(), null);
});

test('channel: closing wakes receivers that wait', async () => {
  const channel = new Channel<Item>(1, ignore);
  const waiting = [channel.receive(), channel.receive()];
  channel.close();
  assert.deepEqual(await Promise.all(waiting), [null, null]);
});

test('channel: whatever is sent, received and given up, each item ends exactly once', async () => {
  const steps = fc.array(fc.constantFrom('send', 'receive', 'abort'), { maxLength: 60 });
  await fc.assert(
    fc.asyncProperty(steps, async (script) => {
      const ends = new Map<string, number>();
      const end = (name: string): void => void ends.set(name, (ends.get(name) ?? 0) + 1);
      const channel = new Channel<Item>(5, (gone) => end(gone.name));
      const clients: AbortController[] = [];
      const accepted: string[] = [];
      const receiving: Promise<void>[] = [];
      const receive = (): void => {
        receiving.push(channel.receive().then((got) => (got === null ? undefined : end(got.name))));
      };
      for (const [i, step] of script.entries()) {
        if (step === 'receive') receive();
        else if (step === 'abort') clients[i % Math.max(1, clients.length)]?.abort();
        else {
          const client = new AbortController();
          try {
            channel.send(item(String(i), client.signal));
            accepted.push(String(i));
            clients.push(client);
          } catch {
            assert.equal(channel.length, 5);
          }
        }
      }
      channel.close();
      for (let i = 0; i < 6; i += 1) receive();
      await Promise.all(receiving);
      assert.deepEqual([...ends.keys()].sort(), accepted.sort());
      assert.ok([...ends.values()].every((count) => count === 1));
    }),
  );
});
