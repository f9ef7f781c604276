/** Runs in the live page. The VMs of one function, for those who cannot point at blocks, and with what blocks have no room for. */
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { clock, count, mib } from './format.ts';
import { useTables } from './store.ts';
import { stateText } from './vm-states.ts';

const SHOWN = 50;

/** @param chosen the VM that somebody came for; null: none. */
export function Vms({ name, chosen }: { readonly name: string; readonly chosen: string | null }): JSX.Element {
  const { vms, vmStates } = useTables('vms', 'vmStates');
  const own = [...vms].filter(([, vm]) => vm.function === name);
  own.sort(
    ([a, one], [b, other]) => Number(b === chosen) - Number(a === chosen) || one.launchedAtMs - other.launchedAtMs,
  );
  const more = own.length - SHOWN;
  return (
    <section class="card" aria-labelledby="vms">
      <header>
        <h2 id="vms">VMs</h2>
        <p class="quiet">{own.length === 0 ? 'none just now' : count(own.length)}</p>
      </header>
      {own.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Table of VMs">
          <table class="vms">
            <thead>
              <tr>
                <th scope="col">VM</th>
                <th scope="col">Version</th>
                <th scope="col">State</th>
                <th scope="col" class="number">
                  Memory
                </th>
                <th scope="col">Since</th>
              </tr>
            </thead>
            <tbody>
              {own.slice(0, SHOWN).map(([id, vm]) => (
                <tr key={id} aria-current={id === chosen ? 'true' : undefined}>
                  <th scope="row">{id === chosen ? <Chosen id={id} /> : <code>{id}</code>}</th>
                  <td>{vm.version}</td>
                  <td>{stateText(vmStates.get(id))}</td>
                  <td class="number">{mib(vm.mib)}</td>
                  <td>{clock(vm.launchedAtMs)}</td>
                </tr>
              ))}
            </tbody>
          </table>
          {more > 0 && <p class="quiet">and {count(more)} more</p>}
        </div>
      )}
    </section>
  );
}

/** Has the focus, so that whoever came by the keyboard goes on from here. */
function Chosen({ id }: { readonly id: string }): JSX.Element {
  const place = useRef<HTMLElement>(null);
  useEffect(() => {
    place.current?.focus({ preventScroll: true });
    place.current?.scrollIntoView({ block: 'center' });
  }, [id]);
  return (
    <code ref={place} tabIndex={-1}>
      {id}
    </code>
  );
}
