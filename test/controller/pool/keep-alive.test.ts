import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Demand } from '../../../src/controller/pool/demand.ts';
import { FairShare } from '../../../src/controller/pool/fair-share.ts';
import type { Claim, Holder, IdleVm } from '../../../src/controller/pool/keep-alive.ts';

/** All tests ask at this time. Starts take 100 ms unless they say otherwise. */
const NOW = 100_000;
const START_MS = 100;

const holding = (heldMib: number): { heldMib: number; readonly demand: Demand } => ({ heldMib, demand: new Demand() });

class Idle implements IdleVm<Idle> {
  previous: Idle | null = null;
  next: Idle | null = null;
  readonly name: string;
  readonly memoryMib: number;
  readonly hasTap: boolean;
  readonly holder: Holder;
  readonly fn: { readonly spare: number };
  readonly startMs: number;
  readonly uses: number;
  readonly readyAt: number;
  readonly idleSince: number;

  /** Needed by default: it has served a lot, and has only just become idle. */
  constructor(
    name: string,
    { idleMs = 1, ageMs = 50_000, ...keys }: Partial<Idle> & { idleMs?: number; ageMs?: number } = {},
  ) {
    this.name = name;
    this.memoryMib = keys.memoryMib ?? 128;
    this.hasTap = keys.hasTap ?? false;
    this.holder = keys.holder ?? holding(this.memoryMib);
    this.fn = keys.fn ?? { spare: Infinity };
    this.startMs = keys.startMs ?? START_MS;
    this.uses = keys.uses ?? 1000;
    this.readyAt = NOW - ageMs;
    this.idleSince = NOW - idleMs;
  }
}

function policyOf(...vms: readonly Idle[]): FairShare<Idle> {
  const policy = new FairShare<Idle>(() => NOW);
  for (const vm of vms) policy.add(vm);
  return policy;
}

/** By default of a function whose own VMs, if it has any, have stood still since the request came. */
function claim(heldMib: number, waitedMs: number, keys: Partial<Claim> = {}): Claim {
  return {
    holder: holding(heldMib),
    memoryMib: 128,
    hasTap: false,
    isNewTenant: false,
    own: heldMib === 0 ? null : { servesInMs: 0, stalledMs: waitedMs, busyShare: 1 },
    waitedMs,
    startMs: START_MS,
    ...keys,
  };
}

const lack = (memoryMib: number, tap = false) => ({ memoryMib, tap });
const names = (vms: readonly Idle[]): string[] => vms.map((vm) => vm.name);
const long = { idleMs: 20_000 };

test('fair share: of VMs that are not needed, those that have been idle for longest go first', () => {
  const [a, b, c] = [new Idle('a', long), new Idle('b', long), new Idle('c', long)];
  const policy = policyOf(a, b, c);
  policy.remove(a);
  policy.add(a);
  assert.deepEqual(names(policy.victims(lack(128), claim(1024, START_MS))), ['b']);
  assert.deepEqual(names(policy.victims(lack(129), claim(1024, START_MS))), ['b', 'c']);
});

test('fair share: only as many are named as are needed, and none if all together are not enough', () => {
  const policy = policyOf(new Idle('large', { ...long, memoryMib: 512 }), new Idle('small', long));
  assert.deepEqual(names(policy.victims(lack(256), claim(0, 0))), ['large']);
  assert.deepEqual(policy.victims(lack(641), claim(0, 1000)), []);
  assert.deepEqual([policy.couldYield(lack(640)), policy.couldYield(lack(641))], [true, false]);
  assert.equal(policy.idleMib, 640);
});

test('fair share: where a tap is needed, it comes from the VM with one that has been idle for longest', () => {
  const keys = { ...long, hasTap: true };
  const vms = [new Idle('old', long), new Idle('tap', keys), new Idle('tap too', keys)];
  const policy = policyOf(...vms);
  assert.deepEqual(names(policy.victims(lack(0, true), claim(0, 0))), ['tap']);
  assert.deepEqual(names(policy.victims(lack(256, true), claim(0, 0))), ['tap', 'old']);
  for (const vm of vms.slice(1)) policy.remove(vm);
  assert.deepEqual(policy.victims(lack(0, true), claim(0, 1000)), []);
  assert.equal(policy.couldYield(lack(0, true)), false);
});

const needed: readonly [string, ConstructorParameters<typeof Idle>[1], boolean][] = [
  ['one that nobody has used', { uses: 0, idleMs: 0 }, false],
  ['one that has served one request, for two starts', { uses: 1, idleMs: 199 }, true],
  ['and not for longer', { uses: 1, idleMs: 200 }, false],
  ['one that has served many, for ten starts', { uses: 1000, idleMs: 999 }, true],
  ['and not for longer than that', { uses: 1000, idleMs: 1000 }, false],
  ['one whose start is slow, for ten seconds', { startMs: 5000, idleMs: 9999 }, true],
  ['and not longer than those', { startMs: 5000, idleMs: 10_000 }, false],
];
for (const [title, keys, isKept] of needed) {
  test(`fair share: a function with VMs of its own leaves alone what another one needs: ${title}`, () => {
    const victims = policyOf(new Idle('vm', keys)).victims(lack(128), claim(512, 10_000));
    assert.equal(victims.length, isKept ? 0 : 1);
  });
}

const rich: Holder = holding(512);
const claims: readonly [string, ConstructorParameters<typeof Idle>[1], Claim, boolean][] = [
  ['without a VM takes one at once from who keeps as much', { holder: rich }, claim(0, 0), true],
  ['that has one waits for a start first', { holder: rich }, claim(128, START_MS - 1), false],
  ['that has one takes another from who keeps as much', { holder: rich }, claim(128, START_MS), true],
  [
    'that has one waits for a quarter of a second if a start takes longer',
    { holder: rich },
    claim(128, 249, { startMs: 5000 }),
    false,
  ],
  ['that has one waits no longer than that', { holder: rich }, claim(128, 250, { startMs: 5000 }), true],
  ['that has one takes none from who would keep less', { holder: rich }, claim(384, 10_000), false],
  ['without a VM waits for a start before it takes the only one of another', {}, claim(0, START_MS - 1), false],
  ['without a VM takes the only one of another', {}, claim(0, START_MS), true],
  ['with a VM never takes the only one of another', {}, claim(128, 10_000), false],
  ['takes no VM that is younger than its start', { holder: rich, ageMs: START_MS - 1 }, claim(0, 10_000), false],
  ['takes one that is as old as its start', { holder: rich, ageMs: START_MS }, claim(0, 10_000), true],
];
for (const [title, keys, by, isTaken] of claims) {
  test(`fair share: a function ${title}`, () => {
    assert.equal(policyOf(new Idle('vm', keys)).victims(lack(128), by).length, isTaken ? 1 : 0);
  });
}

const own = { servesInMs: START_MS - 1, stalledMs: 0, busyShare: 0 };
const ownVms: readonly [string, Claim['own'], boolean][] = [
  ['will have served all within a start, evicts nothing', own, false],
  ['will need as long as a start, evicts', { ...own, servesInMs: START_MS }, true],
  ['have stood still for as long as a start, evicts', { ...own, stalledMs: START_MS }, true],
  ['serve an unknown number of requests, evicts nothing', { ...own, servesInMs: 0 }, false],
];
for (const [title, vms, isTaken] of ownVms) {
  test(`fair share: a function whose own VMs ${title}`, () => {
    const victims = policyOf(new Idle('vm', long)).victims(lack(128), claim(128, 0, { own: vms }));
    assert.equal(victims.length, isTaken ? 1 : 0);
  });
}

test('fair share: another VM that saves much more than the one that is evicted is worth it at once, if that is not needed', () => {
  const busy = holding(128);
  for (let at = NOW - 1000; at <= NOW; at += 20) busy.demand.arrived(at, 1);
  const victims = (idleMs: number, busyShare: number): readonly Idle[] =>
    policyOf(new Idle('vm', { idleMs })).victims(
      lack(128),
      claim(128, 0, { holder: busy, own: { ...own, servesInMs: 20, busyShare } }),
    );
  assert.equal(victims(50_000, 0.5).length, 1);
  assert.equal(victims(50_000, 0.01).length, 0, 'it would hardly be used');
  assert.equal(victims(1, 0.5).length, 0, 'the other one is needed');
});

test('fair share: of a version so many VMs stay as are kept of it, whoever asks', () => {
  const fn = { spare: 1 };
  const policy = policyOf(new Idle('a', { ...long, fn }), new Idle('b', { ...long, fn }), new Idle('other', long));
  assert.deepEqual([policy.idleMib, policy.evictableMib], [384, 256]);
  assert.deepEqual([policy.couldYield(lack(256)), policy.couldYield(lack(257))], [true, false]);
  assert.deepEqual(names(policy.victims(lack(256), claim(0, Infinity))), ['a', 'other']);
  fn.spare = 0;
  assert.deepEqual(names(policy.victims(lack(128), claim(0, Infinity))), ['other']);
  assert.deepEqual(policy.victims(lack(256), claim(0, Infinity)), []);
  assert.equal(policy.evictableMib, 128);
});

test('fair share: a tap of a VM that is kept is none that could be had', () => {
  const policy = policyOf(new Idle('a', { ...long, hasTap: true, fn: { spare: 0 } }), new Idle('b', long));
  assert.equal(policy.couldYield(lack(0, true)), false);
  assert.deepEqual(policy.victims(lack(0, true), claim(0, Infinity)), []);
});

test('fair share: who has most gives first, and not below what the other one gets', () => {
  const [most, less] = [holding(640), holding(384)];
  const vms = [
    new Idle('only one'),
    ...['less', 'less too'].map((name) => new Idle(name, { holder: less })),
    ...['most', 'most too', 'most as well'].map((name) => new Idle(name, { holder: most })),
  ];
  const policy = policyOf(...vms);
  const big = (memoryMib: number): Claim => claim(0, 0, { memoryMib });
  assert.deepEqual(names(policy.victims(lack(128), big(128))), ['most']);
  assert.deepEqual(names(policy.victims(lack(384), big(256))), ['most', 'most too', 'less']);
  assert.deepEqual(policy.victims(lack(384), big(512)), []);
});

test('fair share: memory that moves never comes back as long as both functions ask for more', () => {
  const load = fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 6 }), { minLength: 2, maxLength: 4 }), load, (vms, askers) => {
      const holders = vms.map((count) => holding(count * 128));
      const policy = policyOf();
      for (const holder of holders) {
        for (let i = 0; i < holder.heldMib; i += 128) policy.add(new Idle(`of ${holders.indexOf(holder)}`, { holder }));
      }
      let moves = 0;
      for (const asker of askers) {
        const holder = holders[asker];
        // Those without a VM take turns with others, for time instead of for memory.
        if (holder === undefined || holder.heldMib === 0) continue;
        const [victim] = policy.victims(lack(128), { ...claim(0, 1000), holder });
        if (victim === undefined) continue;
        moves += 1;
        policy.remove(victim);
        (victim.holder as { heldMib: number }).heldMib -= 128;
        holder.heldMib += 128;
        policy.add(new Idle('moved', { holder }));
      }
      // Each move brings two functions closer together: there cannot be more than VMs to even out.
      assert.ok(moves <= vms.reduce((sum, count) => sum + count, 0), `${moves} moves`);
    }),
  );
});
