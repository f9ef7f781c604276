/** Runs in `snapctr simulate`. What memory was used for over time, as an SVG. */
import { chart, type Series } from '../chart.ts';
import { MEMORY_USES } from '../../controller/pool/vm-life.ts';
import type { UtilisationSlice } from './utilisation.ts';

export function utilisationPicture(title: string, slices: readonly UtilisationSlice[]): string {
  const line = (label: string, read: (slice: UtilisationSlice, seconds: number) => number): Series => ({
    label,
    points: slices.map((slice, at) => {
      const seconds = (2 * (slice.atMs - (slices[at - 1]?.atMs ?? 0))) / (at === 0 ? 1000 : 2000);
      return { x: slice.atMs / 60_000, y: read(slice, Math.max(seconds, 0.001)) };
    }),
  });
  return chart(title, [
    { title: 'memory of VMs, MiB', series: MEMORY_USES.map((use) => line(use, ({ mib }) => mib[use])) },
    {
      title: 'requests a second',
      series: [
        line('all', ({ requests }, seconds) => requests / seconds),
        line('waited', ({ waited }, seconds) => waited / seconds),
      ],
    },
    { title: 'evictions a second', series: [line('evictions', ({ evictions }, seconds) => evictions / seconds)] },
  ]);
}
