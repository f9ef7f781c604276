/** Runs in the live page. What is being deployed, and how far it is. */
import type { JSX } from 'preact';
import { useEffect, useReducer } from 'preact/hooks';
import type { DeploymentRow, DeploymentStepName } from '../protocol/live-state.ts';
import { Dot } from './dot.tsx';
import { count, span } from './format.ts';
import { functionLink } from './route.ts';
import { useTables } from './store.ts';

/** Thousands may be queued. */
const SHOWN = 8;
/** The rows tell when a step began, not how long it takes. */
const AGE_EVERY_MS = 1000;

const STEPS: Readonly<Record<DeploymentStepName, string>> = {
  queued: 'waits for its turn',
  building: 'its files are made ready',
  snapshotting: 'its snapshot is made and tried',
};
const ORDER: readonly DeploymentStepName[] = ['snapshotting', 'building', 'queued'];

/** Nothing, while nothing is deployed. */
export function Deployments(): JSX.Element | null {
  const { functions } = useTables('functions');
  const underWay: (DeploymentRow & { readonly name: string })[] = [];
  for (const [name, { deployments = [] }] of functions) {
    for (const deployment of deployments) underWay.push({ name, ...deployment });
  }
  useAge(underWay.length > 0);
  if (underWay.length === 0) return null;
  underWay.sort((a, b) => ORDER.indexOf(a.step) - ORDER.indexOf(b.step) || a.sinceMs - b.sinceMs);
  const more = underWay.length - SHOWN;
  return (
    <section class="card" aria-labelledby="deployments">
      <header>
        <h2 id="deployments">Deployments</h2>
        <span class="quiet">{count(underWay.length)} under way</span>
      </header>
      <ul class="deployments">
        {underWay.slice(0, SHOWN).map(({ name, version, step, sinceMs }) => (
          <li key={`${name} ${version}`} data-step={step}>
            <Dot name={name} />
            <a href={functionLink(name)}>{version === '$LATEST' ? name : `${name}:${version}`}</a>{' '}
            <span class="quiet">
              {STEPS[step]}, {span(Date.now() - sinceMs)}
            </span>
          </li>
        ))}
        {more > 0 && <li class="quiet">and {count(more)} more</li>}
      </ul>
    </section>
  );
}

/** Draws again each second while something is shown. */
function useAge(isShown: boolean): void {
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    if (!isShown) return;
    const timer = setInterval(() => redraw(undefined), AGE_EVERY_MS);
    return () => clearInterval(timer);
  }, [isShown]);
}
