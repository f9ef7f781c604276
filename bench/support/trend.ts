/** Whether something that was measured over time grows. */

export interface Point {
  /** In hours, or whatever the slope is to be per. */
  readonly x: number;
  readonly y: number;
}

export interface Trend {
  /** Of the straight line that fits best (least squares), in y per x. */
  readonly slope: number;
  /** Of the slope, if the points lay around the line by chance. Memory moves in waves, so that this is too small for it. */
  readonly standardError: number;
  /** The line at x. */
  at(x: number): number;
}

/** Null with fewer than three points, or if all have the same x: then there is no line, or no saying how well it fits. */
export function trend(points: readonly Point[]): Trend | null {
  const count = points.length;
  if (count < 3) return null;
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / count;
  const meanX = mean(points.map(({ x }) => x));
  const meanY = mean(points.map(({ y }) => y));
  const spread = points.reduce((sum, { x }) => sum + (x - meanX) ** 2, 0);
  if (spread === 0) return null;
  const slope = points.reduce((sum, { x, y }) => sum + (x - meanX) * (y - meanY), 0) / spread;
  const at = (x: number): number => meanY + slope * (x - meanX);
  const residual = points.reduce((sum, { x, y }) => sum + (y - at(x)) ** 2, 0);
  return { slope, standardError: Math.sqrt(residual / (count - 2) / spread), at };
}
