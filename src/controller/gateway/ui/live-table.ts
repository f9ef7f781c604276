/**
 * Runs in snapctr. The rows that readers of `/ui/stream` have, as JSON. Each change is made into JSON once, however many read it; all
 * rows together are put together from what is there.
 */
import { TABLES, type TableName } from '../../../protocol/live-state.ts';

type Row = string | null;

export class LiveTable {
  readonly #rows: Readonly<Record<TableName, Map<string, string>>> = Object.fromEntries(
    TABLES.map((name) => [name, new Map()]),
  ) as Record<TableName, Map<string, string>>;
  readonly #changed = new Map<TableName, Map<string, Row>>();

  set(table: TableName, key: string, row: unknown): void {
    const text = JSON.stringify(row);
    const rows = this.#rows[table];
    if (rows.get(key) === text) return;
    rows.set(key, text);
    this.#note(table, key, text);
  }

  delete(table: TableName, key: string): void {
    if (this.#rows[table].delete(key)) this.#note(table, key, null);
  }

  /** Keys of the rows that are there. */
  keys(table: TableName): Iterable<string> {
    return this.#rows[table].keys();
  }

  /** What has changed since the last call, as JSON; null: nothing. */
  takePatch(): string | null {
    if (this.#changed.size === 0) return null;
    const patch = joined(this.#changed);
    this.#changed.clear();
    return patch;
  }

  /** All rows as JSON. */
  full(): string {
    return joined(TABLES.map((name) => [name, this.#rows[name]] as const));
  }

  clear(): void {
    for (const name of TABLES) this.#rows[name].clear();
    this.#changed.clear();
  }

  #note(table: TableName, key: string, row: Row): void {
    let rows = this.#changed.get(table);
    if (rows === undefined) this.#changed.set(table, (rows = new Map<string, Row>()));
    rows.set(key, row);
  }
}

/** The table has these rows and no others. */
export function replace(
  table: LiveTable,
  name: 'pending' | 'banners' | 'starts' | 'phases' | 'activity',
  rows: ReadonlyMap<string, unknown>,
): void {
  for (const key of [...table.keys(name)]) if (!rows.has(key)) table.delete(name, key);
  for (const [key, row] of rows) table.set(name, key, row);
}

function joined(tables: Iterable<readonly [TableName, ReadonlyMap<string, Row>]>): string {
  const texts: string[] = [];
  for (const [name, rows] of tables) {
    const members: string[] = [];
    for (const [key, row] of rows) members.push(`${JSON.stringify(key)}:${row ?? 'null'}`);
    texts.push(`"${name}":{${members.join(',')}}`);
  }
  return `{${texts.join(',')}}`;
}
