import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { chart } from '../../src/workload/chart.ts';
import { judge, soakChart, type ProcessSample, type SoakSample } from '../../bench/support/soak-report.ts';
import { trend } from '../../bench/support/trend.ts';

const MB = 1e6;

test('trend: finds the slope of a line, whatever noise lies evenly around it', () => {
  const property = fc.property(
    fc.double({ min: -1e3, max: 1e3, noNaN: true }),
    fc.double({ min: -1e3, max: 1e3, noNaN: true }),
    fc.double({ min: 0, max: 100, noNaN: true }),
    fc.integer({ min: 2, max: 200 }),
    (slope, offset, noise, pairs) => {
      // Above and below at each x: the best line is the one between.
      const points = Array.from({ length: pairs }, (_, x) =>
        [noise, -noise].map((d) => ({ x, y: offset + slope * x + d })),
      );
      const found = trend(points.flat());
      assert.ok(found !== null);
      assert.ok(Math.abs(found.slope - slope) < 1e-6, `${found.slope} for ${slope}`);
      assert.ok(Math.abs(found.at(0) - offset) < 1e-6);
    },
  );
  fc.assert(property);
});

test('trend: says how sure the slope is, and nothing where there is no line', () => {
  const points = [0, 1, 2, 3].map((x) => ({ x, y: x % 2 }));
  // By hand: slope 0.2; residuals 0.2, 0.6, 0.6, 0.2 squared sum to 0.8, over 2 degrees and a spread of 5.
  assert.ok(Math.abs((trend(points)?.slope ?? NaN) - 0.2) < 1e-12);
  assert.ok(Math.abs((trend(points)?.standardError ?? NaN) - Math.sqrt(0.8 / 2 / 5)) < 1e-12);
  for (const few of [[], points.slice(0, 2), points.map(({ y }) => ({ x: 1, y }))]) assert.equal(trend(few), null);
});

const sample = (minute: number, snapctr: number, firerunner: number): SoakSample => {
  const of = (rss: number): ProcessSample => ({
    ...{ at: 0, rss, heapUsed: rss / 2, external: 0, liveBytes: rss / 4, pauseMs: 1, descriptors: 20 },
  });
  return {
    minute,
    snapctr: of(snapctr),
    firerunner: of(firerunner),
    vms: 4,
    launches: 0,
    evictions: 0,
    tookMs: [1, 2],
  };
};

/** An hour, a sample each second. @param memory of firerunner, in MB by minute. */
function hour(memory: (minute: number) => number): SoakSample[] {
  return Array.from({ length: 3600 }, (_, i) => sample(i / 60, 80 * MB, memory(i / 60) * MB));
}

const CASES: readonly (readonly [string, readonly SoakSample[], boolean | null, RegExp])[] = [
  ['the same all the time', hour(() => 70), true, /firerunner: memory 0\.00 ± 0\.00 MB\/h \(≤ 1\) {2}flat/],
  ['waves', hour((minute) => 70 + 5 * Math.sin(minute * 4)), true, /flat/],
  ['growth that ends within ten minutes', hour((minute) => 50 + 2 * Math.min(minute, 10)), true, /flat/],
  ['less and less', hour((minute) => 70 - minute / 10), true, /flat/],
  ['two megabytes an hour', hour((minute) => 70 + minute / 30), false, /firerunner: memory 2\.00 .* GROWS/],
  ['waves that rise', hour((minute) => 70 + minute / 30 + 5 * Math.sin(minute * 4)), false, /GROWS/],
  ['no more than ten minutes', hour(() => 70).filter(({ minute }) => minute < 10), null, /too short to tell/],
  ['nothing', [], null, /too short to tell/],
];
for (const [name, samples, ok, line] of CASES) {
  test(`soak: memory of ${name} is ${ok === null ? 'not judged' : ok ? 'flat' : 'growth'}`, () => {
    const judgement = judge(samples);
    assert.equal(judgement.ok, ok);
    assert.match(judgement.lines[1] ?? '', line);
  });
}

test('soak: the chart has every panel with its legend, and an axis in minutes', () => {
  const svg = soakChart(
    'a <title> & more',
    hour(() => 70),
  );
  assert.match(svg, /^<svg xmlns=/);
  assert.match(svg, /a &lt;title> &amp; more/);
  const labels = [
    'memory, MB',
    'snapctr resident',
    'firerunner heap',
    'open descriptors',
    'VMs',
    'answers, ms',
    'p50',
    'p99',
  ];
  for (const label of [...labels, 'event loop, longest pause, ms', 'minutes'])
    assert.ok(svg.includes(`>${label}</text>`), label);
  assert.equal(svg.match(/<polyline/g)?.length, 4 + 2 + 1 + 2 + 2);
});

test('chart: all points are within the picture, and axes have round numbers', () => {
  const values = fc.array(fc.double({ min: 0, max: 1e12, noNaN: true }), { maxLength: 3000 });
  const property = fc.property(values, (ys) => {
    const svg = chart('title', [{ title: 'panel', series: [{ label: 'one', points: ys.map((y, x) => ({ x, y })) }] }]);
    const [, width, height] = /viewBox="0 0 (\d+) (\d+)"/.exec(svg) ?? [];
    const points = (/polyline points="([^"]*)"/.exec(svg)?.[1] ?? '').split(' ').filter((point) => point !== '');
    assert.ok(points.length <= 1000 && (ys.length === 0) === (points.length === 0));
    for (const point of points) {
      const [x = NaN, y = NaN] = point.split(',').map(Number);
      assert.ok(x >= 0 && x <= Number(width) && y >= 0 && y <= Number(height), point);
    }
    const ticks = [...svg.matchAll(/text-anchor="end" >([^<]*)</g)].map(([, tick]) => tick ?? '');
    assert.ok(
      ticks.length >= 2 && ticks.every((tick) => /^[125]?\d?(\.\d)?/.test(tick) && Number.isFinite(Number(tick))),
      ticks.join(),
    );
  });
  fc.assert(property, { numRuns: 50 });
});

test('chart: of many points the largest are kept, so that no peak is lost', () => {
  const points = Array.from({ length: 5000 }, (_, x) => ({ x, y: x === 3333 ? 100 : 1 }));
  const svg = chart('title', [{ title: 'panel', series: [{ label: 'one', points }] }]);
  const ys = (/polyline points="([^"]*)"/.exec(svg)?.[1] ?? '').split(' ').map((point) => Number(point.split(',')[1]));
  assert.equal(ys.filter((y) => y === Math.min(...ys)).length, 1);
});
