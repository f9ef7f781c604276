/**
 * Runs in the live page. Where each VM lies in the picture of the host's memory: rows of equal size, in which a VM keeps its place while
 * it lives, so that nothing moves but what comes and goes.
 */

export interface Place {
  readonly row: number;
  /** From the row's beginning, in MiB. */
  readonly at: number;
  readonly mib: number;
}

export class MemoryMap {
  readonly rows: number;
  /** Of one row, in MiB. */
  readonly rowMib: number;
  readonly #places = new Map<string, Place>();
  /** Of each row, in order. */
  readonly #rows: Place[][];

  constructor(totalMib: number, rows: number) {
    this.rows = rows;
    this.rowMib = totalMib / rows;
    this.#rows = Array.from({ length: rows }, () => []);
  }

  place(id: string): Place | undefined {
    return this.#places.get(id);
  }

  remove(id: string): void {
    const place = this.#places.get(id);
    if (place === undefined) return;
    this.#places.delete(id);
    const row = this.#rows[place.row];
    row?.splice(row.indexOf(place), 1);
  }

  /** In the first hole that is large enough. False: there is none, and all have to move closer. */
  add(id: string, mib: number): boolean {
    for (const [row, places] of this.#rows.entries()) {
      let at = 0;
      let before = 0;
      for (const place of places) {
        if (place.at - at >= mib) break;
        at = place.at + place.mib;
        before += 1;
      }
      if (at + mib > this.rowMib + 1e-6) continue;
      const place = { row, at, mib };
      places.splice(before, 0, place);
      this.#places.set(id, place);
      return true;
    }
    return false;
  }

  /** Places all anew, largest first. Those that fit into no row as a whole lie in the emptiest, which has them closer together. */
  pack(vms: readonly (readonly [id: string, mib: number])[]): void {
    this.#places.clear();
    for (const row of this.#rows) row.length = 0;
    const left: [string, number][] = [];
    for (const [id, mib] of [...vms].sort((a, b) => b[1] - a[1])) if (!this.add(id, mib)) left.push([id, mib]);
    for (const [id, mib] of left) {
      const ends = this.#rows.map((row) => row.reduce((end, place) => Math.max(end, place.at + place.mib), 0));
      const row = ends.indexOf(Math.min(...ends));
      const place = { row, at: ends[row] ?? 0, mib };
      this.#rows[row]?.push(place);
      this.#places.set(id, place);
    }
  }

  /** What a row has to be drawn as, in MiB: more than its size if VMs had to be squeezed into it. */
  extent(row: number): number {
    const last = this.#rows[row]?.at(-1);
    return last === undefined ? this.rowMib : Math.max(this.rowMib, last.at + last.mib);
  }
}
