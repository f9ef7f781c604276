/**
 * Runs in the live page. The host's memory, each VM a block. The blocks are kept by hand: of a thousand, only those are touched that a
 * message names.
 */
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { VmRow, VmStateName } from '../protocol/live-state.ts';
import { clock, count, hueOf, mib, plural } from './format.ts';
import { MemoryMap } from './memory-map.ts';
import { functionLink } from './route.ts';
import { painter } from './painter.ts';
import { store, useTables, type Change } from './store.ts';

/** A VM of the smallest size is so wide at least, in pixels. */
const SMALLEST_PX = 14;
const SMALLEST_MIB = 128;
const MOST_ROWS = 40;
/** So many have blocks that move. */
const FEW_ROWS = 2;
/** A block says its name from this width on, in pixels. */
const NAMED_PX = 64;
/** How long a block is seen after its VM is gone, in ms; see style.css. */
const LEAVING_MS = 700;

const STATES: readonly (readonly [VmStateName, string])[] = [
  ['busy', 'busy'],
  ['idle', 'idle'],
  ['kept', 'kept ready'],
  ['launching', 'launching'],
  ['evicted', 'evicted'],
];

export function Memory(): JSX.Element {
  const state = useTables('host', 'vmStates');
  const { total, reserved, idle } = state.host.memory ?? { total: 0, reserved: 0, idle: 0 };
  const counts = new Map<VmStateName, number>();
  for (const vm of state.vmStates.values()) counts.set(vm, (counts.get(vm) ?? 0) + 1);
  const summary = `${mib(reserved)} of ${mib(total)} reserved by ${plural(state.vmStates.size, 'VM')}, ${mib(idle)} of it idle`;
  return (
    <section class="card" aria-labelledby="memory">
      <header>
        <h2 id="memory">Memory</h2>
        <p class="quiet">{summary}</p>
      </header>
      <Bar label={summary} />
      <ul class="legend" aria-label="VMs by state">
        {STATES.map(([name, text]) => (
          <li key={name}>
            <i class={`swatch vm ${name}`} aria-hidden="true" /> {text} <b>{count(counts.get(name) ?? 0)}</b>
          </li>
        ))}
        <li>
          <i class="swatch vm idle ahead" aria-hidden="true" /> launched ahead{' '}
          <b>{count(state.host.ahead?.vms ?? 0)}</b>
        </li>
      </ul>
    </section>
  );
}

function Bar({ label }: { readonly label: string }): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (place.current === null) return undefined;
    const bar = new Blocks(place.current);
    const draw = (): void => bar.draw();
    const end = store.listen((change) => {
      bar.onChange(change);
      // Few blocks cost nothing, and a launch may be over in a moment.
      if (bar.isSmall) draw();
      else painter.request(draw);
    });
    const sizes = new ResizeObserver(() => bar.layOut());
    sizes.observe(place.current);
    return () => {
      end();
      painter.forget(draw);
      sizes.disconnect();
    };
  }, []);
  return <div class="bar" ref={place} role="img" aria-label={label} />;
}

class Blocks {
  readonly #bar: HTMLElement;
  readonly #blocks = new Map<string, HTMLElement>();
  /** VMs that are not drawn as they are. */
  readonly #changed = new Set<string>();
  #isStale = false;
  #rows: HTMLElement[] = [];
  #map = new MemoryMap(1, 1);
  #widthPx = 0;
  #totalMib = 0;

  constructor(bar: HTMLElement) {
    this.#bar = bar;
    bar.addEventListener('click', ({ target }) => {
      const name = target instanceof Element ? target.closest('[data-function]')?.getAttribute('data-function') : null;
      if (typeof name === 'string') location.assign(functionLink(name));
    });
    bar.addEventListener('pointerover', ({ target }) => {
      const block = target instanceof Element ? target.closest<HTMLElement>('[data-vm]') : null;
      if (block !== null) block.title = describe(block.dataset['vm'] ?? '');
    });
    this.layOut();
  }

  /** It has few rows. */
  get isSmall(): boolean {
    return this.#rows.length <= FEW_ROWS;
  }

  onChange({ isFull, patch }: Change): void {
    if (isFull) this.#isStale = true;
    for (const id of Object.keys(patch.vms ?? {})) this.#changed.add(id);
    for (const id of Object.keys(patch.vmStates ?? {})) this.#changed.add(id);
  }

  /** What has changed since the last time. */
  draw(): void {
    const { vms, vmStates, host } = store.state;
    if (this.#isStale || (host.memory?.total ?? 0) !== this.#totalMib) return this.layOut();
    const changed = [...this.#changed];
    this.#changed.clear();
    for (const id of changed) if (!vms.has(id)) this.#remove(id);
    for (const id of changed) {
      const vm = vms.get(id);
      if (vm === undefined) continue;
      if (!this.#add(id, vm)) return this.layOut();
      const block = this.#blocks.get(id);
      const state = vmStates.get(id);
      if (block !== undefined && state !== undefined) this.#show(block, id, state);
    }
  }

  /** All anew: the width or the memory is another, or a VM found no place. */
  layOut(): void {
    this.#isStale = false;
    this.#changed.clear();
    this.#widthPx = this.#bar.clientWidth;
    this.#totalMib = store.state.host.memory?.total ?? 0;
    if (this.#widthPx === 0 || this.#totalMib === 0) return;
    const rowMib = (this.#widthPx / SMALLEST_PX) * SMALLEST_MIB;
    const rows = Math.min(MOST_ROWS, Math.max(1, Math.ceil(this.#totalMib / rowMib)));
    this.#map = new MemoryMap(this.#totalMib, rows);
    this.#map.pack([...store.state.vms].map(([id, vm]) => [id, vm.mib] as const));
    this.#rows = Array.from({ length: rows }, () => element('row'));
    this.#bar.dataset['rows'] = rows <= FEW_ROWS ? 'few' : rows <= 8 ? 'some' : 'many';
    this.#bar.replaceChildren(...this.#rows);
    this.#blocks.clear();
    for (const [id, vm] of store.state.vms) this.#draw(id, vm, false);
  }

  #add(id: string, vm: VmRow): boolean {
    if (this.#blocks.has(id)) return true;
    if (!this.#map.add(id, vm.mib)) return false;
    this.#draw(id, vm, true);
    return true;
  }

  #draw(id: string, vm: VmRow, isNew: boolean): void {
    const place = this.#map.place(id);
    if (place === undefined) return;
    const block = element('vm');
    const extent = this.#map.extent(place.row);
    const width = place.mib / extent;
    block.dataset['vm'] = id;
    block.dataset['function'] = vm.function;
    block.style.left = `${(place.at / extent) * 100}%`;
    block.style.width = `calc(${width * 100}% - 2px)`;
    block.style.setProperty('--hue', String(hueOf(vm.function)));
    if (width * this.#widthPx >= NAMED_PX) block.textContent = vm.function;
    if (isNew) block.classList.add('new');
    this.#show(block, id, store.state.vmStates.get(id) ?? 'launching');
    this.#blocks.set(id, block);
    this.#rows[place.row]?.append(block);
  }

  #show(block: HTMLElement, id: string, state: VmStateName): void {
    const isNew = block.classList.contains('new') ? ' new' : '';
    const isAhead = store.state.vms.get(id)?.ahead === true ? ' ahead' : '';
    block.className = `vm ${state}${isAhead}${isNew}`;
  }

  #remove(id: string): void {
    this.#map.remove(id);
    const block = this.#blocks.get(id);
    this.#blocks.delete(id);
    if (block === undefined) return;
    block.classList.add('leaving');
    setTimeout(() => block.remove(), LEAVING_MS);
  }
}

function element(name: string): HTMLElement {
  const made = document.createElement('div');
  made.className = name;
  return made;
}

function describe(id: string): string {
  const vm = store.state.vms.get(id);
  const state = store.state.vmStates.get(id);
  if (vm === undefined || state === undefined) return id;
  const ahead = vm.ahead ? ', launched ahead' : '';
  return `${vm.function} ${vm.version}\n${id}: ${state}${ahead}\n${mib(vm.mib)}, since ${clock(vm.launchedAtMs)}`;
}
