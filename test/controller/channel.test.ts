import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Channel, type ChannelOptions, type Received } from '../../src/controller/channel.ts';
import { SnapfaasError } from '../../src/protocol/errors.ts';
import { VirtualClock } from '../../src/workload/simulation/virtual-clock.ts';

interface Item {
  readonly name: string;
  readonly flow: object;
  readonly signal: AbortSignal;
}

const never = new AbortController().signal;
const flows = { a: {}, b: {}, c: {} };
const item = (name: string, flow: object = flows.a, signal = never): Item => ({ name, flow, signal });

interface Bench {
  readonly channel: Channel<Item, string>;
  /** Items that were dropped, and the code that they were told; `gone`: their client is. */
  readonly dropped: [string, string][];
  /** Time goes on by so many ms. */
  pass(ms: number): void;
  /** Flows that find no grant. */
  readonly without: Set<object>;
  receive(): Promise<string | undefined>;
  /** A worker that runs each item until `finish` is called. */
  work(): void;
  /** Lets the oldest item that is run end. */
  finish(): Promise<void>;
  /** Items in the order in which they were handed to `work`. */
  readonly ran: string[];
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function bench(capacity: number, options: Partial<ChannelOptions<Item, string>> = {}): Bench {
  const without = new Set<object>();
  const dropped: [string, string][] = [];
  const ran: string[] = [];
  const running: (() => void)[] = [];
  const clock = new VirtualClock();
  clock.set(1000);
  const channel = new Channel<Item, string>({
    capacity,
    maxWaitMs: 500,
    maxAgeMs: 60_000,
    flowOf: ({ flow }) => flow,
    grant: ({ name, flow }) => (without.has(flow) ? null : `for ${name}`),
    onDropped: ({ name }, error) => dropped.push([name, error?.code ?? 'gone']),
    clock,
    ...options,
  });
  const made: Bench = {
    channel,
    dropped,
    pass: (ms) => clock.set(clock.now() + ms),
    without,
    ran,
    receive: async () => (await channel.receive())?.item.name,
    work: () => {
      const next = (received: Received<Item, string> | null): void => {
        if (received === null) return;
        ran.push(received.item.name);
        running.push(() => {
          channel.done(received);
          void channel.receive().then(next);
        });
      };
      void channel.receive().then(next);
    },
    finish: async () => {
      running.shift()?.();
      await turn();
    },
  };
  return made;
}

test('channel: a waiting receiver gets the next item, with its grant', async () => {
  const { channel } = bench(1);
  const received = channel.receive();
  channel.send(item('a'));
  assert.deepEqual([(await received)?.item.name, (await received)?.grant], ['a', 'for a']);
});

test('channel: items of a flow come out in the order they went in', async () => {
  const { channel, receive } = bench(3);
  for (const name of ['1', '2', '3']) channel.send(item(name));
  assert.deepEqual([await receive(), await receive(), await receive()], ['1', '2', '3']);
});

test('channel: flows take turns, however many items each has', async () => {
  const { channel, receive } = bench(10);
  for (const name of ['a1', 'a2', 'a3', 'a4']) channel.send(item(name, flows.a));
  for (const name of ['b1', 'b2']) channel.send(item(name, flows.b));
  channel.send(item('c1', flows.c));
  const order: unknown[] = [];
  for (let i = 0; i < 7; i += 1) order.push(await receive());
  assert.deepEqual(order, ['a1', 'b1', 'c1', 'a2', 'b2', 'a3', 'a4']);
});

test('channel: a flow without a grant keeps its turn, and keeps nobody else waiting', async () => {
  const { channel, receive, without } = bench(10);
  without.add(flows.a);
  for (const [name, flow] of [
    ['a1', flows.a],
    ['b1', flows.b],
    ['b2', flows.b],
  ] as const)
    channel.send(item(name, flow));
  assert.equal(await receive(), 'b1');
  without.clear();
  assert.deepEqual([await receive(), await receive()], ['a1', 'b2']);
});

test('channel: a worker that waits gets an item as soon as there is a grant', async () => {
  const { channel, receive, without } = bench(1);
  without.add(flows.a);
  const waiting = receive();
  channel.send(item('a'));
  without.clear();
  channel.serve();
  assert.equal(await waiting, 'a');
});

test('channel: a flow far behind many without a grant is served when it is the likely one', async () => {
  const { channel, receive, without } = bench(100);
  for (let i = 0; i < 40; i += 1) {
    const flow = {};
    without.add(flow);
    channel.send(item(String(i), flow));
  }
  without.add(flows.a);
  channel.send(item('last', flows.a));
  const waiting = receive();
  without.delete(flows.a);
  channel.serve(flows.a);
  assert.equal(await waiting, 'last');
});

test('channel: refuses when full, and takes again when there is room', async () => {
  const { channel, receive } = bench(1);
  channel.send(item('1'));
  assert.equal(channel.isFull, true);
  assert.throws(() => channel.send(item('2')), { code: 'queue_full', message: /queue_capacity/ });
  await receive();
  channel.send(item('3'));
  assert.equal(channel.length, 1);
});

test('channel: when full, the last of the longest flow gives way to another flow', async () => {
  const { channel, dropped, receive } = bench(4);
  for (const name of ['a1', 'a2', 'a3', 'a4']) channel.send(item(name, flows.a));
  channel.send(item('b1', flows.b));
  assert.deepEqual(dropped, [['a4', 'queue_full']]);
  channel.send(item('b2', flows.b));
  assert.throws(() => channel.send(item('b3', flows.b)), { code: 'queue_full' });
  assert.throws(() => channel.send(item('a5', flows.a)), { code: 'queue_full' });
  channel.send(item('c1', flows.c));
  assert.deepEqual(dropped.slice(1), [
    ['a3', 'queue_full'],
    ['a2', 'queue_full'],
  ]);
  const order: unknown[] = [];
  for (let i = 0; i < 4; i += 1) order.push(await receive());
  assert.deepEqual(order, ['a1', 'b1', 'c1', 'b2']);
});

test('channel: refuses what would wait too long in a queue that stands, and says when to come again', async () => {
  const made = bench(1000);
  const { channel, finish, work } = made;
  work();
  const send = (count: number): void => {
    for (let i = 0; i < count; i += 1) channel.send(item('x'));
  };
  const serveUntil = async (left: number): Promise<void> => {
    while (channel.length > left) {
      made.pass(100);
      await finish();
    }
  };
  send(1);
  await turn();
  send(30);
  // Two were served in 100 ms each: the queue has stood for as long as a burst may last.
  for (let i = 0; i < 2; i += 1) {
    made.pass(100);
    await finish();
  }
  assert.equal(channel.length, 28, 'a burst is taken whole');
  assert.throws(
    () => send(1),
    (error: unknown) => {
      assert.ok(error instanceof SnapfaasError);
      assert.deepEqual([error.code, error.retryAfterS], ['queue_full', 3]);
      return true;
    },
  );
  assert.equal(channel.expectedWaitMs(flows.a), 2900);
  // Another flow has nothing to do with it.
  channel.send(item('b', flows.b));
  await serveUntil(6);
  assert.throws(() => send(1), { code: 'queue_full' });
  await serveUntil(4);
  send(1);
});

test('channel: a queue that is empty from time to time does not stand, whatever its flow is like', async () => {
  const made = bench(1000);
  made.work();
  for (let round = 0; round < 5; round += 1) {
    for (let i = 0; i < 40; i += 1) made.channel.send(item('x'));
    await turn();
    for (let i = 0; i < 40; i += 1) {
      made.pass(100);
      await made.finish();
    }
  }
  assert.equal(made.ran.length, 200);
});

test('channel: what waits for the first of its flow is not refused, however long that takes', async () => {
  const made = bench(1000);
  made.work();
  for (let i = 0; i < 500; i += 1) {
    made.channel.send(item('x'));
    if (i === 0) await turn();
    made.pass(20);
  }
  assert.equal(made.channel.length, 499);
});

test('channel: one may always wait for the one that runs, however slow the flow is', async () => {
  const made = bench(10);
  const { channel, finish } = made;
  made.work();
  for (let i = 0; i < 3; i += 1) channel.send(item('x'));
  await turn();
  for (let i = 0; i < 2; i += 1) {
    made.pass(29_000);
    await finish();
  }
  assert.equal(channel.length, 0);
  channel.send(item('x'));
  assert.equal(channel.length, 1);
});

test('channel: no item waits longer than the limit', () => {
  const made = bench(10, { maxAgeMs: 5000 });
  made.channel.send(item('1'));
  made.pass(3000);
  made.channel.send(item('2'));
  made.pass(1950);
  assert.deepEqual(made.dropped, []);
  made.pass(50);
  assert.deepEqual(made.dropped, [['1', 'queue_full']]);
  assert.equal(made.channel.length, 1);
});

test('channel: a flow of which nothing is served is asked whether to go on; others are not', async () => {
  const asked: string[] = [];
  const made = bench(10, {
    giveUp: ({ name }) => {
      asked.push(name);
      return new SnapfaasError('resource_exhausted', 'there is none');
    },
  });
  made.work();
  made.channel.send(item('a1', flows.a));
  await turn();
  made.channel.send(item('a2', flows.a));
  made.channel.send(item('b1', flows.b));
  made.pass(450);
  assert.deepEqual(asked, []);
  made.pass(50);
  assert.deepEqual(asked, ['b1']);
  assert.deepEqual(made.dropped, [['b1', 'resource_exhausted']]);
});

test('channel: an item given up while it waits makes room and reaches nobody', async () => {
  const { channel, dropped, receive } = bench(1);
  const client = new AbortController();
  channel.send(item('a', flows.a, client.signal));
  client.abort();
  channel.send(item('b'));
  assert.deepEqual(dropped, [['a', 'gone']]);
  assert.equal(await receive(), 'b');
});

test('channel: an item given up after a receiver took it is not reported as dropped', async () => {
  const { channel, dropped, receive } = bench(1);
  const client = new AbortController();
  channel.send(item('a', flows.a, client.signal));
  await receive();
  client.abort();
  assert.deepEqual(dropped, []);
});

test('channel: an item that is sent back is the first of its flow, even if the channel is full', async () => {
  const { channel, receive } = bench(2);
  const received = channel.receive();
  channel.send(item('1'));
  const first = await received;
  assert.ok(first !== null);
  for (const name of ['2', '3']) channel.send(item(name));
  channel.done(first);
  channel.sendBack(first);
  assert.deepEqual([await receive(), await receive(), await receive()], ['1', '2', '3']);
});

test('channel: closing refuses new items and those that wait, and wakes receivers', async () => {
  const made = bench(2);
  made.without.add(flows.a);
  const waiting = [made.receive(), made.receive()];
  made.channel.send(item('a'));
  made.channel.close();
  assert.throws(() => made.channel.send(item('b')), { code: 'shutting_down' });
  assert.deepEqual(made.dropped, [['a', 'shutting_down']]);
  assert.deepEqual(await Promise.all([...waiting, made.receive()]), [undefined, undefined, undefined]);
});

test('channel: whatever is sent, received, given up and late, each item ends exactly once', async () => {
  const names = fc.constantFrom<'a' | 'b' | 'c'>('a', 'b', 'c');
  const step = fc.tuple(fc.constantFrom('send', 'send', 'receive', 'abort', 'grants', 'time', 'done'), names);
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 80 }), async (script) => {
      const ends = new Map<string, number>();
      const end = (name: string): void => void ends.set(name, (ends.get(name) ?? 0) + 1);
      const made = bench(5, { maxAgeMs: 2000, onDropped: ({ name }) => end(name) });
      const { channel, without } = made;
      const clients: AbortController[] = [];
      const accepted: string[] = [];
      const served: Received<Item, string>[] = [];
      const receiving: Promise<void>[] = [];
      const receive = (): void => {
        const received = channel.receive().then((got) => {
          if (got === null) return;
          served.push(got);
          end(got.item.name);
        });
        receiving.push(received);
      };
      for (const [i, [what, name]] of script.entries()) {
        const flow = flows[name];
        if (what === 'receive') receive();
        else if (what === 'abort') clients[i % Math.max(1, clients.length)]?.abort();
        else if (what === 'grants') {
          if (without.delete(flow)) channel.serve(flow);
          else without.add(flow);
        } else if (what === 'time') {
          made.pass(300);
        } else if (what === 'done') {
          await turn();
          const one = served.shift();
          if (one !== undefined) channel.done(one);
        } else {
          const client = new AbortController();
          try {
            channel.send(item(String(i), flow, client.signal));
            accepted.push(String(i));
            clients.push(client);
          } catch {
            assert.ok(channel.isFull || channel.length > 0);
          }
        }
        assert.ok(channel.length <= 5);
      }
      channel.close();
      assert.equal(channel.length, 0);
      await Promise.all(receiving);
      assert.deepEqual([...ends.keys()].sort(), accepted.sort());
      assert.ok([...ends.values()].every((count) => count === 1));
    }),
  );
});

test('channel: of a flow those are refused that wait in vain, and the others are left alone', async () => {
  const { channel, dropped, without, receive } = bench(10);
  without.add(flows.a);
  for (const name of ['a1', 'a2', 'a3']) channel.send(item(name, flows.a));
  channel.send(item('b1', flows.b));
  channel.refuse(flows.a, ({ name }) =>
    name === 'a2' ? null : new SnapfaasError('function_not_found', 'there is no such function'),
  );
  channel.refuse(flows.c, () => new SnapfaasError('function_not_found', 'nothing waits for it'));
  assert.deepEqual(dropped, [
    ['a1', 'function_not_found'],
    ['a3', 'function_not_found'],
  ]);
  assert.deepEqual([channel.length, await receive()], [2, 'b1']);
});

test('channel: a flow behind any number of others without a grant has its turn soon', async () => {
  const { channel, without, ran, work, pass } = bench(200);
  for (let i = 0; i < 100; i += 1) {
    const flow = {};
    without.add(flow);
    channel.send(item(`stuck ${i}`, flow));
  }
  without.add(flows.a);
  channel.send(item('a1', flows.a));
  work();
  without.delete(flows.a);
  // Each look asks 16 of them, so that none of them costs much.
  for (let looks = 0; looks < 7; looks += 1) pass(50);
  await turn();
  assert.deepEqual(ran, ['a1']);
});
