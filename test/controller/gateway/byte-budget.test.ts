import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ByteBudget, type ClientBudget } from '../../../src/controller/gateway/byte-budget.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

function connected(budget: ByteBudget, address: string): ClientBudget {
  const client = budget.connected(address);
  assert.ok(client !== null, `${address} is refused`);
  return client;
}

test('byte budget: addresses of one client share a part', () => {
  const same = [
    ['192.0.2.1', '::ffff:192.0.2.1'],
    ['2001:db8::1', '2001:db8::2', '2001:db8:0:0:ffff::', '2001:db8:0:0:1:2:3:4'],
    ['::1', '::2', '0:0:0:0::9'],
    ['fe80::1%eth0', 'fe80::2%eth1'],
    [''],
  ];
  const budget = new ByteBudget(16 * MIB, 100);
  const clients = same.map((addresses) => addresses.map((address) => connected(budget, address)));
  for (const group of clients) for (const client of group) assert.equal(client, group[0]);
  assert.equal(new Set(clients.flat()).size, same.length);
  const others = ['192.0.2.2', '2001:db8:0:1::1', '1::'].map((address) => connected(budget, address));
  assert.equal(new Set([...clients.flat(), ...others]).size, same.length + others.length);
});

test('byte budget: a client has three quarters of the connections at most, and none of them is lost', () => {
  const budget = new ByteBudget(16 * MIB, 8);
  const greedy = Array.from({ length: 6 }, () => connected(budget, '192.0.2.1'));
  assert.equal(budget.connected('192.0.2.1'), null);
  const others = ['192.0.2.2', '192.0.2.3'].map((address) => connected(budget, address));
  assert.equal(budget.connected('192.0.2.4'), null);
  for (const client of [...greedy, ...others]) client.disconnected();
  for (let n = 0; n < 6; n += 1) connected(budget, '192.0.2.1');
});

test('byte budget: small bodies find room where a client’s large ones have taken all of theirs', () => {
  const client = connected(new ByteBudget(16 * MIB, 8), '192.0.2.1');
  while (client.tryTake(MIB));
  assert.equal(client.tryTake(64 * KIB), true);
  assert.match(client.exhausted(MIB).message, /one client fill the 12 MB/);
});

test('byte budget: who waits for a part of its own holds up nobody behind it', async () => {
  const budget = new ByteBudget(16 * MIB, 8);
  const [greedy, other] = ['192.0.2.1', '192.0.2.2'].map((address) => connected(budget, address));
  assert.ok(greedy !== undefined && other !== undefined);
  assert.deepEqual([greedy.tryTake(10 * MIB), other.tryTake(4 * MIB)], [true, true]);
  const waits = greedy.take(3 * MIB, 60_000);
  const behind = other.take(3 * MIB, 60_000);
  other.give(4 * MIB);
  assert.equal(await behind, true);
  greedy.give(10 * MIB);
  assert.equal(await waits, true);
});

test('byte budget: whatever clients do, the whole and each part keep to their bounds, and all is given back', () => {
  const bytes = fc.integer({ min: 1, max: 6 * MIB });
  const step = fc.oneof(
    fc.record({ do: fc.constant('take' as const), client: fc.nat(2), bytes }),
    fc.record({ do: fc.constant('give' as const), at: fc.nat() }),
    fc.record({ do: fc.constant('answer' as const), client: fc.nat(2), bytes }),
    fc.record({ do: fc.constant('read' as const), at: fc.nat() }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const budget = new ByteBudget(16 * MIB, 8);
      const clients = [0, 1, 2].map((n) => connected(budget, `192.0.2.${n}`));
      const taken: { client: ClientBudget; bytes: number }[] = [];
      const answers: { client: ClientBudget; answer: { drop(): void }; bytes: number }[] = [];
      for (const one of steps) {
        if (one.do === 'take') {
          const client = clients[one.client];
          if (client?.tryTake(one.bytes) === true) {
            taken.push({ client, bytes: one.bytes });
            assert.ok(budget.takenBytes <= 16 * MIB);
          }
        } else if (one.do === 'give') {
          const [given] = taken.length === 0 ? [] : taken.splice(one.at % taken.length, 1);
          given?.client.give(given.bytes);
        } else if (one.do === 'answer') {
          const client = clients[one.client];
          const answer = { drop: () => assert.fail('dropped at once') };
          client?.addAnswer(answer, one.bytes);
          if (client !== undefined) answers.push({ client, answer, bytes: one.bytes });
        } else {
          const [read] = answers.length === 0 ? [] : answers.splice(one.at % answers.length, 1);
          read?.client.removeAnswer(read.answer);
          read?.client.removeAnswer(read.answer);
        }
        const expected = [...taken, ...answers].reduce((sum, { bytes: each }) => sum + each, 0);
        assert.equal(budget.takenBytes, expected);
      }
      for (const { client, bytes: each } of taken) client.give(each);
      for (const { client, answer } of answers) client.removeAnswer(answer);
      assert.equal(budget.takenBytes, 0);
      for (const client of clients) {
        assert.equal(client.tryTake(10 * MIB), true, 'its part is whole');
        client.give(10 * MIB);
      }
    }),
    { numRuns: 300 },
  );
});
