/**
 * Runs in snapctr. Records as files of this host:
 *
 * ```
 *   DATA/registry.json        {"schema": 1}: what the records look like; written last, when a directory is made or migrated
 *   DATA/functions/NAME.json  one record, whole
 *   DATA/layers/NAME.json
 *   DATA/schedules/NAME.json  how far schedules have come
 * ```
 *
 * A file is written beside its place, put on disk, and renamed: whatever happens, its name leads to the record of before or to
 * the one of after. No record needs another one, so there is nothing to be done about several files.
 */
import { randomUUID } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { z } from 'zod';
import { messageOf } from '../protocol/errors.ts';
import { codeOf } from '../storage/error-code.ts';
import { makeDirectory } from '../storage/make-directory.ts';
import { OwnedNames } from '../storage/owned-names.ts';
import { sync } from '../storage/sync.ts';
import { functionSchema, layerSchema, problemOf, RECORD_SCHEMA, scheduleMarksSchema } from './record-schema.ts';
import type { Loaded, RecordBucket, RecordStore } from './record-store.ts';

const WRITING = new OwnedNames('.snapfaas-record-');
/** Of a name, with which a file's begins; longer than AWS lets any be, and shorter than a file system does. */
const NAME = /^([a-zA-Z0-9_-]{1,140})\.json$/;
const SCHEMA_FILE = 'registry.json';
/** What was damaged when its record was deleted or put anew is kept under this ending. */
const DAMAGED = '.damaged';
/** After so many ms of reading, the event loop has its turn. */
const SLICE_MS = 5;
/** A record is some kilobytes; a larger file is not read into memory. */
const MAX_BYTES = 16 * 1024 * 1024;

/** The directory cannot be used, and what to do. */
export class RecordStoreError extends Error {
  override readonly name = 'RecordStoreError';
}

/** How the records of an older release become those of the next one: of schema N to N + 1, at N - 1. */
export type Migration = (directory: string) => Promise<void>;
const MIGRATIONS: readonly Migration[] = [];

/**
 * @param directory is made if it is missing; no other process uses it.
 * @throws RecordStoreError if it is of a newer release, or of none; NodeJS.ErrnoException
 */
export async function openRecordFiles(directory: string, migrations = MIGRATIONS): Promise<RecordStore> {
  await makeDirectory(directory, 0o700);
  const functions = join(directory, 'functions');
  const layers = join(directory, 'layers');
  const schedules = join(directory, 'schedules');
  await migrate(directory, migrations);
  for (const one of [directory, functions, layers, schedules]) {
    await makeDirectory(one, 0o700);
    await WRITING.removeAbandoned(one);
  }
  return {
    functions: new FileBucket(functions, functionSchema),
    layers: new FileBucket(layers, layerSchema),
    schedules: new FileBucket(schedules, scheduleMarksSchema),
  };
}

async function migrate(directory: string, migrations: readonly Migration[]): Promise<void> {
  const newest = migrations.length + 1;
  const found = await schemaOf(directory);
  if (found !== null && found > newest) {
    const what = `${directory} was written by a newer snapctr (schema ${found}, this one knows ${newest})`;
    throw new RecordStoreError(`${what}; use that one, or another --data-dir`);
  }
  if (found === newest) return;
  // Each step can be done again: after a crash it is.
  if (found !== null) {
    for (const [index, migration] of migrations.entries()) {
      if (index + 1 < found) continue;
      await migration(directory);
      await writeWhole(directory, SCHEMA_FILE, JSON.stringify({ schema: index + 2 }));
    }
    return;
  }
  await writeWhole(directory, SCHEMA_FILE, JSON.stringify({ schema: newest }));
}

/** Null: nothing was written yet. */
async function schemaOf(directory: string): Promise<number | null> {
  const path = join(directory, SCHEMA_FILE);
  let text;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    const [some] = (await readdir(join(directory, 'functions')).catch(() => [])).filter((name) => NAME.test(name));
    if (some === undefined) return null;
    throw new RecordStoreError(`${path} is missing, which says how to read the records; restore it from a copy`);
  }
  const schema = parseSchema(text);
  if (schema !== null) return schema;
  const like = JSON.stringify({ schema: RECORD_SCHEMA });
  throw new RecordStoreError(`${path} is damaged; restore it from a copy: ${like} for records of this release`);
}

function parseSchema(text: string): number | null {
  try {
    const { schema } = JSON.parse(text) as { readonly schema?: unknown };
    return Number.isSafeInteger(schema) && Number(schema) > 0 ? Number(schema) : null;
  } catch {
    return null;
  }
}

class FileBucket<T extends { readonly name: string }> implements RecordBucket<T> {
  readonly #directory: string;
  readonly #schema: z.ZodType<T>;
  readonly #damaged = new Set<string>();

  constructor(directory: string, schema: z.ZodType<T>) {
    this.#directory = directory;
    this.#schema = schema;
  }

  async load(): Promise<Loaded<T>> {
    const names = (await readdir(this.#directory)).flatMap((file) => NAME.exec(file)?.[1] ?? []).sort();
    const records: T[] = [];
    const damaged: { readonly name: string; readonly problem: string }[] = [];
    let sliceEnd = performance.now() + SLICE_MS;
    for (const name of names) {
      if (performance.now() >= sliceEnd) {
        await nextTurn();
        sliceEnd = performance.now() + SLICE_MS;
      }
      try {
        records.push(this.#read(name));
      } catch (error) {
        damaged.push({ name, problem: messageOf(error) });
      }
    }
    for (const { name } of damaged) this.#damaged.add(name);
    return { records, damaged };
  }

  async put(record: T): Promise<void> {
    await this.#setAside(record.name);
    await writeWhole(this.#directory, fileOf(record.name), `${JSON.stringify(record, null, 2)}\n`);
  }

  async delete(name: string): Promise<void> {
    await this.#setAside(name);
    await rm(join(this.#directory, fileOf(name)), { force: true });
    await sync(this.#directory);
  }

  /** @throws Error with what is wrong with it. */
  #read(name: string): T {
    const path = join(this.#directory, fileOf(name));
    const record = this.#parse(path, readBounded(path));
    if (record.name === name) return record;
    throw new Error(`${path} has the record of another name, ${JSON.stringify(record.name)}; restore it from a copy`);
  }

  #parse(path: string, text: string): T {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw new Error(`${path} is damaged: ${messageOf(cause)}; restore it from a copy`, { cause });
    }
    const { data, error } = this.#schema.safeParse(value);
    if (error !== undefined) throw new Error(`${path} is damaged: ${problemOf(error)}; restore it from a copy`);
    return data;
  }

  /** What is damaged may be of use to somebody. */
  async #setAside(name: string): Promise<void> {
    if (!this.#damaged.has(name)) return;
    const path = join(this.#directory, fileOf(name));
    await rename(path, path + DAMAGED).catch((error: unknown) => {
      if (codeOf(error) !== 'ENOENT') throw error;
    });
    this.#damaged.delete(name);
  }
}

function fileOf(name: string): string {
  const file = `${name}.json`;
  if (!NAME.test(file)) throw new Error(`bug: ${JSON.stringify(name)} cannot be the name of a record`);
  return file;
}

/** At once: for many small files, promises take five times as long. */
function readBounded(path: string): string {
  const file = openSync(path, 'r');
  try {
    const { size } = fstatSync(file);
    if (size > MAX_BYTES) throw new Error(`${path} is damaged: it has ${size} bytes; restore it from a copy`);
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}

/** @throws NodeJS.ErrnoException; then what was there before is there. */
async function writeWhole(directory: string, file: string, text: string): Promise<void> {
  const temporary = join(directory, await WRITING.make(randomUUID()));
  try {
    const handle = await open(temporary, 'wx', 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, join(directory, file));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
  await sync(directory);
}
