import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createOrder, EVICTION_ORDERS, type Worth } from '../../../src/controller/pool/eviction-orders.ts';
import { Demand } from '../../../src/controller/pool/demand.ts';
import type { Holder, IdleVm } from '../../../src/controller/pool/keep-alive.ts';

const NOW = 3_600_000;

class Idle implements IdleVm<Idle> {
  previous: Idle | null = null;
  next: Idle | null = null;
  readonly hasTap = false;
  readonly fn = { spare: Infinity };
  readonly readyAt = 0;
  readonly memoryMib: number;
  readonly startMs: number;
  readonly uses: number;
  readonly idleSince: number;
  readonly holder: Holder;

  constructor({ times = [], ...keys }: Partial<Omit<Idle, 'holder'>> & { readonly times?: readonly number[] } = {}) {
    this.memoryMib = keys.memoryMib ?? 128;
    this.startMs = keys.startMs ?? 100;
    this.uses = keys.uses ?? times.length;
    this.idleSince = keys.idleSince ?? times.at(-1) ?? NOW - 1000;
    this.holder = { heldMib: this.memoryMib, demand: new Demand() };
    for (const time of times) this.holder.demand.arrived(time, 1);
  }
}

/** Requests at a random-looking pace that is `pauseMs` on average; the last one `idleMs` ago. */
function irregular(pauseMs: number, idleMs: number): readonly number[] {
  const times = [0];
  for (let i = 1; i < 30; i += 1) times.push((times[i - 1] ?? 0) + pauseMs * ([0.4, 1.9, 0.7][i % 3] ?? 1));
  const last = times.at(-1) ?? 0;
  return times.map((time) => NOW - idleMs - last + time);
}

function first(name: (typeof EVICTION_ORDERS)[number], vms: Readonly<Record<string, Idle>>): string {
  const order = createOrder<Idle>(name);
  for (const vm of Object.values(vms)) order.onIdle?.(vm);
  const byValue = Object.entries(vms).sort(([, a], [, b]) => order.valueOf(a, NOW) - order.valueOf(b, NOW));
  return byValue[0]?.[0] ?? '';
}

test('least recently used: the one that has been idle for longest goes', () => {
  assert.equal(first('lru', { old: new Idle({ idleSince: 1 }), young: new Idle({ idleSince: 2 }) }), 'old');
});

const costs: readonly (readonly [why: string, goes: Partial<Idle>, stays: Partial<Idle>])[] = [
  ['whose start takes less time', { startMs: 100 }, { startMs: 3000 }],
  ['that is larger', { memoryMib: 1024 }, { memoryMib: 128 }],
];
for (const [why, goes, stays] of costs) {
  for (const name of ['greedy-dual', 'demand'] as const) {
    test(`${name}: of two that are alike the one goes ${why}`, () => {
      assert.equal(
        first(name, { goes: new Idle({ uses: 1, ...goes }), stays: new Idle({ uses: 1, ...stays }) }),
        'goes',
      );
    });
  }
}

test('greedy dual: the one that was used less goes, until as much as it is worth was evicted since', () => {
  const order = createOrder<Idle>('greedy-dual');
  const [seldom, often] = [new Idle({ uses: 1 }), new Idle({ uses: 50 })];
  order.onIdle?.(often);
  for (let i = 0; i < 100; i += 1) {
    order.onIdle?.(seldom);
    if (order.valueOf(seldom, NOW) > order.valueOf(often, NOW)) return assert.ok(i >= 40 && i <= 60, `after ${i}`);
    order.onEvicted?.(seldom);
  }
  assert.fail('one that is not used any more is kept for ever');
});

test('by demand: one that is asked for often stays, although another one was used later', () => {
  const often = new Idle({ times: irregular(2000, 5000) });
  const seldom = new Idle({ times: irregular(60_000, 1000) });
  assert.equal(first('demand', { often, seldom }), 'seldom');
});

test('by demand: one that is called by a timer goes right after its use, and stays when it is due', () => {
  const timer = (idleMs: number): Idle =>
    new Idle({ times: [3, 2, 1, 0].map((i) => NOW - idleMs - i * 300_000), startMs: 150 });
  const other = new Idle({ times: irregular(60_000, 10_000), startMs: 150 });
  assert.equal(first('demand', { timer: timer(1000), other }), 'timer');
  assert.equal(first('demand', { timer: timer(299_000), other }), 'other');
});

test('by demand: one whose timer has stopped goes', () => {
  const stopped = new Idle({ times: [0, 60_000, 120_000, 180_000] });
  const other = new Idle({ times: irregular(60_000, 10_000) });
  assert.equal(first('demand', { stopped, other }), 'stopped');
});

test('by demand: a VM that is launched ahead is worth what it is when it waits', () => {
  const order = createOrder<Idle>('demand');
  const ahead = ({ holder, startMs, memoryMib }: Idle): Worth => ({ holder, savesMs: startMs, memoryMib });
  for (const times of [irregular(2000, 5000), [NOW - 900_000, NOW - 600_000, NOW - 300_000], [NOW - 1000]]) {
    const waiting = new Idle({ times, uses: 0, idleSince: NOW });
    assert.equal(order.valueAhead?.(ahead(waiting), NOW), order.valueOf(waiting, NOW));
  }
  assert.equal(order.valueAhead?.(ahead(new Idle()), NOW), 0);
});
