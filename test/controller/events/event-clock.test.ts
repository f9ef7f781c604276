import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventClock } from '../../../src/controller/events/event-clock.ts';

const HOUR = 3_600_000;

test('event clock: it begins where the host is, or behind what was written down last', () => {
  const host = Date.now();
  const early = eventClock(0).now();
  assert.ok(early >= host - 1 && early < host + 10_000, `${early - host}`);
  const late = eventClock(host + HOUR).now();
  assert.ok(late >= host + HOUR && late < host + HOUR + 10_000, `${late - host}`);
});

test('event clock: a host that is set back or leaps while it runs changes nothing', (t) => {
  const clock = eventClock(0);
  const before = clock.now();
  for (const hours of [-24, 24]) {
    const host = Date.now();
    const set = t.mock.method(Date, 'now', () => host + hours * HOUR);
    const now = clock.now();
    assert.ok(now >= before && now < before + 10_000, `${now - before}`);
    set.mock.restore();
  }
});

test('event clock: what is called off is not called', async () => {
  const called: string[] = [];
  const clock = eventClock(0);
  clock.after(1, () => called.push('off'))();
  await new Promise<void>((resolve) => void clock.after(5, resolve));
  assert.deepEqual(called, []);
});
