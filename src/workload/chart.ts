/** Lines over time as an SVG: panels above each other that share the time axis. No more than a soak needs. */
/** A value at a time. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface Series {
  readonly label: string;
  /** x in minutes, in order. */
  readonly points: readonly Point[];
}

export interface Panel {
  readonly title: string;
  readonly series: readonly Series[];
}

const WIDTH = 960;
const PANEL_HEIGHT = 190;
const MARGIN = { left: 64, right: 16, top: 44, bottom: 16, legend: 18 };
const TIME_AXIS_HEIGHT = 36;
/** Told apart by people who do not see all colours (Okabe and Ito). */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00'];
/** More points than there are pixels are drawn by their largest one in each. */
const MOST_POINTS = WIDTH;

export function chart(title: string, panels: readonly Panel[]): string {
  const height = MARGIN.top + panels.length * PANEL_HEIGHT + TIME_AXIS_HEIGHT;
  const longest = Math.max(1, ...panels.flatMap(({ series }) => series.map(({ points }) => points.at(-1)?.x ?? 0)));
  const time = axis(longest, 10);
  const left = MARGIN.left;
  const right = WIDTH - MARGIN.right;
  const toX = (x: number): number => left + (x / time.max) * (right - left);
  const parts = panels.map((panel, i) => drawPanel(panel, MARGIN.top + i * PANEL_HEIGHT, { left, right, toX, time }));
  const bottom = MARGIN.top + panels.length * PANEL_HEIGHT - MARGIN.bottom;
  const minutes = time.ticks.map((x) => text(toX(x), bottom + 18, String(x), 'middle'));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    text(left, 22, title, 'start', 'font-size="15"'),
    ...parts,
    ...minutes,
    text((left + right) / 2, bottom + 36, 'minutes', 'middle'),
    '</svg>',
    '',
  ].join('\n');
}

interface Frame {
  readonly left: number;
  readonly right: number;
  readonly toX: (x: number) => number;
  readonly time: Axis;
}

function drawPanel({ title, series }: Panel, y: number, { left, right, toX, time }: Frame): string {
  const top = y + MARGIN.legend + 6;
  const bottom = y + PANEL_HEIGHT - MARGIN.bottom;
  const values = axis(Math.max(0, ...series.flatMap(({ points }) => points.map((point) => point.y))), 4);
  const toY = (value: number): number => bottom - (value / values.max) * (bottom - top);
  const grid = [
    ...values.ticks.map((value) => line(left, toY(value), right, toY(value))),
    ...time.ticks.map((x) => line(toX(x), top, toX(x), bottom)),
  ];
  const labels = values.ticks.map((value) => text(left - 6, toY(value) + 4, String(value), 'end'));
  const lines = series.map(({ points }, i) => {
    const path = thinned(points).map((point) => `${toX(point.x).toFixed(1)},${toY(point.y).toFixed(1)}`);
    return `<polyline points="${path.join(' ')}" fill="none" stroke="${colour(i)}" stroke-width="1.2"/>`;
  });
  // Each label begins where the one before ends, at about seven pixels a letter.
  let x = left + title.length * 7 + 20;
  const legend = series.map(({ label }, i) => {
    const at = x;
    x += label.length * 7 + 36;
    const sample = `<rect x="${at}" y="${y + 4}" width="14" height="4" fill="${colour(i)}"/>`;
    return sample + text(at + 20, y + 12, label, 'start');
  });
  return [text(left, y + 12, title, 'start', 'font-weight="bold"'), ...grid, ...labels, ...lines, ...legend].join('\n');
}

interface Axis {
  readonly max: number;
  /** From 0 to `max`, round numbers. */
  readonly ticks: readonly number[];
}

/** An axis from 0 to at least `most`, with about `count` round steps. */
function axis(most: number, count: number): Axis {
  const rough = Math.max(most, Number.MIN_VALUE) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10) * power;
  if (most <= 0 || !Number.isFinite(step) || step === 0) return { max: 1, ticks: [0, 1] };
  const steps = Math.ceil(most / step);
  // Steps are powers of ten times 1, 2 or 5: what is behind the twelfth digit is the machine's.
  const ticks = Array.from({ length: steps + 1 }, (_, i) => Number((i * step).toPrecision(12)));
  return { max: ticks.at(-1) ?? 1, ticks };
}

function thinned(points: readonly Point[]): readonly Point[] {
  const size = Math.ceil(points.length / MOST_POINTS);
  if (size <= 1) return points;
  const largest: Point[] = [];
  for (let i = 0; i < points.length; i += size) {
    largest.push(points.slice(i, i + size).reduce((most, point) => (point.y > most.y ? point : most)));
  }
  return largest;
}

const colour = (index: number): string => COLOURS[index % COLOURS.length] ?? '#000000';

function line(x1: number, y1: number, x2: number, y2: number): string {
  const [a, b, c, d] = [x1, y1, x2, y2].map((value) => value.toFixed(1));
  return `<line x1="${a}" y1="${b}" x2="${c}" y2="${d}" stroke="#dddddd"/>`;
}

function text(x: number, y: number, content: string, anchor: 'start' | 'middle' | 'end', more = ''): string {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" ${more}>${escaped}</text>`;
}
