/**
 * Runs in the live page. The host's memory, each VM a block. The blocks are kept by hand: of a thousand, only those are touched that a
 * message names.
 */
import type { JSX } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import type { VmRow, VmStateName } from '../protocol/live-state.ts';
import { clock, count, mib, plural } from './format.ts';
import { hues } from './hues.ts';
import { MemoryMap } from './memory-map.ts';
import { vmLink } from './route.ts';
import { painter } from './painter.ts';
import { store, useTables, type Change } from './store.ts';
import { COUNTED_STATES, stateText } from './vm-states.ts';

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
        {COUNTED_STATES.map((name) => (
          <li key={name}>
            <i class={`swatch vm ${name}`} aria-hidden="true" /> {stateText(name)} <b>{count(counts.get(name) ?? 0)}</b>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Bar({ label }: { readonly label: string }): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (place.current === null) return undefined;
    const draw = (): void => bar.draw();
    const bar = new Blocks(place.current, () => painter.request(draw));
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
      bar.clear();
    };
  }, []);
  return <div class="bar" ref={place} role="group" aria-label={`VMs, by arrow keys: ${label}`} />;
}

interface Block {
  readonly element: HTMLElement;
  readonly function: string;
}

interface LeavingBlock extends Block {
  /** As the page's clock tells it, in ms. */
  readonly untilMs: number;
}

class Blocks {
  readonly #bar: HTMLElement;
  readonly #blocks = new Map<string, Block>();
  /** VMs that are not drawn as they are, with the last state that was told of each. */
  readonly #changed = new Map<string, VmStateName | null>();
  /** In the order in which they go. */
  #leaving: LeavingBlock[] = [];
  #leavingTimer = 0;
  /** Where the Tab key stops; the arrows lead to the others. */
  #stop: HTMLElement | null = null;
  readonly #requestDraw: () => void;
  #isStale = false;
  #rows: HTMLElement[] = [];
  #map = new MemoryMap(1, 1);
  #widthPx = 0;
  #totalMib = 0;

  constructor(bar: HTMLElement, requestDraw: () => void) {
    this.#bar = bar;
    this.#requestDraw = requestDraw;
    bar.addEventListener('pointerover', ({ target }) => {
      const block = blockOf(target);
      if (block !== null) block.title = describe(block.dataset['vm'] ?? '');
    });
    bar.addEventListener('focusin', ({ target }) => {
      const block = blockOf(target);
      if (block === null || block.classList.contains('leaving')) return;
      this.#moveStop(block);
      block.setAttribute('aria-label', describe(block.dataset['vm'] ?? '').replaceAll('\n', ', '));
    });
    bar.addEventListener('keydown', (event) => this.#onKey(event));
    this.layOut();
  }

  /** It has few rows. */
  get isSmall(): boolean {
    return this.#rows.length <= FEW_ROWS;
  }

  onChange({ isFull, patch }: Change): void {
    if (isFull) this.#isStale = true;
    for (const id of Object.keys(patch.vms ?? {})) this.#changed.set(id, this.#changed.get(id) ?? null);
    // A VM may be gone by the time it is drawn: that it was evicted is shown all the same.
    for (const [id, state] of Object.entries(patch.vmStates ?? {})) {
      if (state !== null || !this.#changed.has(id)) this.#changed.set(id, state as VmStateName | null);
    }
  }

  /** What has changed since the last time. */
  draw(): void {
    const { vms, host } = store.state;
    this.#clearAway(performance.now());
    if (this.#isStale || (host.memory?.total ?? 0) !== this.#totalMib) return this.layOut();
    const changed = new Map(this.#changed);
    this.#changed.clear();
    for (const [id, state] of changed) {
      if (isOver(state)) this.#free(id, state);
      if (!vms.has(id)) this.#remove(id);
    }
    for (const id of changed.keys()) {
      const vm = vms.get(id);
      const state = store.state.vmStates.get(id);
      if (vm === undefined || state === undefined || isOver(state)) continue;
      if (!this.#add(id, vm)) return this.layOut();
      this.#show(id, state);
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
    const vms = [...store.state.vms].filter(([id]) => !isOver(store.state.vmStates.get(id) ?? null));
    this.#map = new MemoryMap(this.#totalMib, rows);
    this.#map.pack(vms.map(([id, vm]) => [id, vm.mib] as const));
    this.#rows = Array.from({ length: rows }, () => element('div', 'row'));
    this.#bar.dataset['rows'] = rows <= FEW_ROWS ? 'few' : rows <= 8 ? 'some' : 'many';
    this.#bar.replaceChildren(...this.#rows);
    const before = [...this.#blocks.values()];
    this.#blocks.clear();
    this.#stop = null;
    for (const [id, vm] of vms) this.#draw(id, vm, false);
    for (const block of before) hues.release(block.function);
    this.#clearAway(Infinity);
  }

  clear(): void {
    for (const block of this.#blocks.values()) hues.release(block.function);
    this.#blocks.clear();
    this.#clearAway(Infinity);
  }

  /** Together with what else is drawn: each block by itself would have the page drawn once more. */
  #clearAway(nowMs: number): void {
    const kept = this.#leaving.findIndex(({ untilMs }) => untilMs > nowMs);
    for (const { element, function: name } of this.#leaving.splice(0, kept === -1 ? this.#leaving.length : kept)) {
      element.remove();
      hues.release(name);
    }
    clearTimeout(this.#leavingTimer);
    const [next] = this.#leaving;
    if (next !== undefined) this.#leavingTimer = setTimeout(this.#requestDraw, next.untilMs - nowMs);
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
    const block = element('a', 'vm');
    const extent = this.#map.extent(place.row);
    const width = place.mib / extent;
    block.setAttribute('href', vmLink(vm.function, id));
    block.setAttribute('aria-label', `${vm.function}, ${id}`);
    block.tabIndex = -1;
    block.dataset['vm'] = id;
    block.dataset['function'] = vm.function;
    block.style.left = `${(place.at / extent) * 100}%`;
    block.style.width = `calc(${width * 100}% - 2px)`;
    block.style.setProperty('--hue', String(hues.take(vm.function)));
    if (width * this.#widthPx >= NAMED_PX) block.textContent = vm.function;
    if (isNew) block.classList.add('new');
    this.#blocks.set(id, { element: block, function: vm.function });
    this.#show(id, store.state.vmStates.get(id) ?? 'launching');
    this.#rows[place.row]?.append(block);
    if (this.#stop === null) this.#moveStop(block);
  }

  #show(id: string, state: VmStateName): void {
    const block = this.#blocks.get(id)?.element;
    if (block === undefined) return;
    const isNew = block.classList.contains('new') ? ' new' : '';
    block.className = `vm ${state}${isNew}`;
  }

  /** Its place is another's from now on: whoever it had to make room for. Its block is seen until it is gone. */
  #free(id: string, state: VmStateName): void {
    this.#show(id, state);
    this.#map.remove(id);
  }

  #remove(id: string): void {
    this.#map.remove(id);
    const block = this.#blocks.get(id);
    this.#blocks.delete(id);
    if (block === undefined) return;
    block.element.classList.add('leaving');
    const [first] = this.#blocks.values();
    if (this.#stop === block.element) this.#moveStop(first?.element ?? null);
    this.#leaving.push({ ...block, untilMs: performance.now() + LEAVING_MS });
    if (this.#leaving.length === 1) this.#leavingTimer = setTimeout(this.#requestDraw, LEAVING_MS);
  }

  #moveStop(to: HTMLElement | null): void {
    if (this.#stop !== null) this.#stop.tabIndex = -1;
    this.#stop = to;
    if (to !== null) to.tabIndex = 0;
  }

  #onKey(event: KeyboardEvent): void {
    const block = blockOf(event.target);
    if (block === null) return;
    const all = [...this.#bar.querySelectorAll<HTMLElement>('.vm:not(.leaving)')].sort(byPlace);
    const at = all.indexOf(block);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    all[Math.min(all.length - 1, Math.max(0, next))]?.focus();
  }
}

function blockOf(target: EventTarget | null): HTMLElement | null {
  return target instanceof Element ? target.closest<HTMLElement>('[data-vm]') : null;
}

function byPlace(a: HTMLElement, b: HTMLElement): number {
  return a.offsetParent === b.offsetParent ? a.offsetLeft - b.offsetLeft : a.compareDocumentPosition(b) & 4 ? -1 : 1;
}

function isOver(state: VmStateName | null): state is 'evicted' | 'ended' {
  return state === 'evicted' || state === 'ended';
}

function element(tag: 'a' | 'div', name: string): HTMLElement {
  const made = document.createElement(tag);
  made.className = name;
  return made;
}

function describe(id: string): string {
  const vm = store.state.vms.get(id);
  const state = store.state.vmStates.get(id);
  if (vm === undefined || state === undefined) return id;
  return `${vm.function} ${vm.version}\n${id}: ${stateText(state)}\n${mib(vm.mib)}, since ${clock(vm.launchedAtMs)}`;
}
