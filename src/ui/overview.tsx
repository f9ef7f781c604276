/** Runs in the live page. The main view: what the host does just now. */
import type { ComponentChildren, JSX } from 'preact';
import { Deployments } from './deployments.tsx';
import { count, plural, span } from './format.ts';
import { Functions } from './functions.tsx';
import { Memory } from './memory-bar.tsx';
import { Starts } from './starts.tsx';
import { useTables } from './store.ts';

export function Overview(): JSX.Element {
  return (
    <>
      <h1 class="hidden">Overview</h1>
      <Banners />
      <Memory />
      <Tiles />
      <Deployments />
      <Starts />
      <Functions />
    </>
  );
}

export function Banners(): JSX.Element {
  const { banners } = useTables('banners');
  return (
    <div role="status" class="banners">
      {[...banners].map(([id, { level, text }]) => (
        <p key={id} class={`banner ${level}`}>
          <b>{level === 'error' ? 'Error' : 'Note'}</b> {text}
        </p>
      ))}
    </div>
  );
}

function Tiles(): JSX.Element {
  const { host } = useTables('host');
  const { queue, workers, counters, events, functions, snapshots } = host;
  return (
    <dl class="tiles">
      <Tile name="Queue" value={count(queue?.length ?? 0)} level={ratio(queue?.length, queue?.capacity)}>
        of {count(queue?.capacity ?? 0)}
      </Tile>
      <Tile name="Workers busy" value={count(workers?.busy ?? 0)} level={ratio(workers?.busy, workers?.total)}>
        of {count(workers?.total ?? 0)}
      </Tile>
      <Tile name="VM launches" value={count(counters?.launches ?? 0)}>
        {count(counters?.reuses ?? 0)} reused
      </Tile>
      <Tile name="Evictions" value={count(counters?.evictions ?? 0)}>
        since the start
      </Tile>
      <Tile name="Events pending" value={count(events?.pending ?? 0)}>
        {(events?.pending ?? 0) > 0 ? `oldest ${span(events?.oldestMs ?? 0)}` : plural(events?.dead ?? 0, 'dead one')}
      </Tile>
      <Tile name="Functions" value={count(functions?.total ?? 0)}>
        {(functions?.deploying ?? 0) > 0
          ? `${count(functions?.deploying ?? 0)} deploying`
          : `${plural(snapshots?.ready ?? 0, 'snapshot')} ready`}
      </Tile>
    </dl>
  );
}

interface TileProps {
  readonly name: string;
  readonly value: string;
  /** How full it is, from 0 to 1. */
  readonly level?: number;
  readonly children: ComponentChildren;
}

function Tile({ name, value, level, children }: TileProps): JSX.Element {
  return (
    <div class="card tile">
      <dt>{name}</dt>
      <dd>
        <b>{value}</b> <span class="quiet">{children}</span>
        {level !== undefined && (
          <i class={level > 0.9 ? 'level high' : 'level'} aria-hidden="true" style={{ '--level': String(level) }} />
        )}
      </dd>
    </div>
  );
}

function ratio(part = 0, whole = 0): number {
  return whole === 0 ? 0 : Math.min(1, part / whole);
}
