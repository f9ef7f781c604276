/**
 * Runs in snapctr. Events in a journal on this host's disk:
 *
 * ```
 *   append, settle, update ──▶ queue ──batch──▶ newest file ──fdatasync──▶ answered
 *                                                 ▲
 *   oldest file: all settled? removed             │
 *                much settled? what is not ──copied
 * ```
 *
 * Whatever comes while one batch is being synced is in the next one. Files go in the order in which they were begun: the word that an
 * event is settled stands behind the event, and must not go before it. Payloads stay on disk; in memory there is where they are.
 */
import { readdir, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../protocol/errors.ts';
import { makeDirectory } from '../../storage/make-directory.ts';
import { sync } from '../../storage/sync.ts';
import {
  checkRoom,
  EventStoreError,
  initialState,
  type EventContents,
  type EventState,
  type EventStore,
  type EventStoreLimits,
  type NewEvent,
  type StoredEvent,
} from './event-store.ts';
import {
  decodeRecord,
  encodeRecord,
  FILE_HEADER_BYTES,
  FRAME_BYTES,
  JOURNAL_SCHEMA,
  MAX_BODY_BYTES,
  type EventMeta,
  type JournalRecord,
  type RecordMeta,
} from './journal-record.ts';
import { Segment, segmentNumber } from './journal-segment.ts';

const MIB = 1024 * 1024;

/** Some 200 bytes of memory for each event. */
export const JOURNAL_LIMITS: EventStoreLimits = { maxEvents: 200_000, maxBytes: 4096 * MIB };

const DEFAULT_SEGMENT_BYTES = 32 * MIB;
/** What is written and synced at once at most; encoding it holds the event loop for some milliseconds. */
const BATCH_RECORDS = 256;
const BATCH_BYTES = 4 * MIB;
/** What is copied out of an old file at once. */
const COPY_BYTES = MIB;
const COPY_RECORDS = 100;
/** A disk that refused is asked again after so many ms. */
const RETRY_MS = 1000;
/** Beside the payload. */
const MAX_META_BYTES = 64 * 1024;
const NOTHING: Buffer = Buffer.alloc(0);

export interface JournalOptions {
  readonly limits?: EventStoreLimits;
  /** From this size on the next file is begun. */
  readonly segmentBytes?: number;
  /** Something is damaged, or the disk refuses. */
  readonly onProblem: (message: string) => void;
}

class Entry implements StoredEvent {
  readonly sequence: number;
  readonly target: string;
  readonly acceptedAt: number;
  readonly bytes: number;
  readonly origin: string | null;
  /** Null: the initial one, as of most. */
  changed: EventState | null = null;
  segment: Segment | null = null;
  offset = 0;
  length = 0;
  isSettling = false;

  constructor(sequence: number, target: string, acceptedAt: number, bytes: number, origin: string | null) {
    this.sequence = sequence;
    this.target = target;
    this.acceptedAt = acceptedAt;
    this.bytes = bytes;
    this.origin = origin;
  }

  get state(): EventState {
    return this.changed ?? initialState(this.acceptedAt);
  }
}

interface Write {
  readonly meta: () => RecordMeta;
  readonly payload: Buffer;
  /** Where its event is from now on; null: it is of none that stays. */
  readonly entry: Entry | null;
}

/** Writes that are kept together or not at all, as far as a process that is not killed can tell. */
interface Group {
  readonly writes: readonly Write[];
  /** Whether it is tried again until the disk takes it. */
  readonly isOwed: boolean;
  readonly onWritten: () => void;
  readonly onFailed: (error: EventStoreError) => void;
}

export class Journal implements EventStore {
  readonly isDurable = true;
  latestMoment = 0;
  readonly #directory: string;
  readonly #limits: EventStoreLimits;
  readonly #segmentBytes: number;
  readonly #onProblem: (message: string) => void;
  #entries = new Map<number, Entry>();
  /** Each text once, however many events it is of. */
  readonly #targets = new Map<string, string>();
  /** Oldest first; the last one is written to. */
  #segments: Segment[] = [];
  #nextSegment = 1;
  #sequence = 0;
  /** Of payloads that are not settled, and that wait for being written. */
  #payloadBytes = 0;
  #waitingEvents = 0;
  #liveBytes = 0;
  #queue: Group[] = [];
  /** Events whose new state waits for being written. */
  readonly #noted = new Set<Entry>();
  #isCommitting = false;
  #committing = Promise.resolve();
  #compacting: Promise<void> | null = null;
  #wake: (() => void) | null = null;
  #isClosed = false;
  #isFailing = false;

  private constructor(directory: string, options: JournalOptions) {
    this.#directory = directory;
    this.#limits = options.limits ?? JOURNAL_LIMITS;
    this.#segmentBytes = options.segmentBytes ?? DEFAULT_SEGMENT_BYTES;
    this.#onProblem = options.onProblem;
  }

  /**
   * @param directory is made if it is missing; no other process uses it.
   * @throws EventStoreError `damaged` if it is of another release; NodeJS.ErrnoException
   */
  static async open(directory: string, options: JournalOptions): Promise<Journal> {
    await makeDirectory(directory, 0o700);
    const journal = new Journal(directory, options);
    try {
      await journal.#recover();
    } catch (error) {
      await Promise.all(journal.#segments.map((segment) => segment.close()));
      throw error;
    }
    return journal;
  }

  get size(): number {
    return this.#entries.size;
  }

  events(): Iterable<StoredEvent> {
    return this.#entries.values();
  }

  find(sequence: number): StoredEvent | null {
    return this.#entries.get(sequence) ?? null;
  }

  append(event: NewEvent): Promise<StoredEvent> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) throw closed();
      checkSize(event);
      checkRoom(this.#limits, this.#entries.size + this.#waitingEvents, this.#payloadBytes + event.payload.length);
      const entry = this.#newEntry(event);
      const write = eventWrite(entry, event);
      this.#enqueue({
        writes: [write],
        isOwed: false,
        onWritten: () => resolve(entry),
        onFailed: (error) => {
          this.#waitingEvents -= 1;
          this.#payloadBytes -= entry.bytes;
          reject(error);
        },
      });
    });
  }

  async read(event: StoredEvent): Promise<EventContents> {
    const { meta, payload } = await this.#record(event);
    return { id: meta.id, payload, header: meta.header, hops: meta.hops, attributes: meta.attributes ?? null };
  }

  update(event: StoredEvent, state: EventState): void {
    const entry = this.#entries.get(event.sequence);
    if (entry === undefined) return;
    entry.changed = state;
    // One that waits already is written as it is then.
    if (this.#noted.has(entry) || this.#isClosed) return;
    this.#noted.add(entry);
    const { sequence } = entry;
    const write: Write = {
      meta: () => ({ kind: 'state', sequence, state: entry.state }),
      payload: NOTHING,
      entry: null,
    };
    const forget = (): void => void this.#noted.delete(entry);
    this.#enqueue({ writes: [write], isOwed: true, onWritten: forget, onFailed: forget });
  }

  settle(event: StoredEvent, followers: readonly NewEvent[]): Promise<readonly StoredEvent[]> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) throw closed();
      followers.forEach(checkSize);
      const entry = this.#entries.get(event.sequence);
      if (entry === undefined || entry.isSettling) throw new EventStoreError('closed', 'the event was settled before');
      entry.isSettling = true;
      const entries = followers.map((one) => this.#newEntry(one));
      const { sequence } = entry;
      const done: Write = { meta: () => ({ kind: 'done', sequence }), payload: NOTHING, entry: null };
      // Room on a full disk comes from files whose events are done: that must not wait for the word of it.
      if (followers.length === 0) this.#forget(entry);
      this.#enqueue({
        writes: [...followers.map((one, index) => eventWrite(entries[index] ?? entry, one)), done],
        isOwed: true,
        onWritten: () => {
          if (followers.length > 0) this.#forget(entry);
          resolve(entries);
        },
        onFailed: reject,
      });
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#wake?.();
    await this.#committing;
    await this.#compacting?.catch(() => undefined);
    for (const { onFailed } of this.#queue.splice(0)) onFailed(closed());
    await Promise.all(this.#segments.map((segment) => segment.close()));
    this.#segments = [];
  }

  #newEntry({ target, acceptedAt, payload, origin = null }: NewEvent): Entry {
    this.#waitingEvents += 1;
    this.#payloadBytes += payload.length;
    return new Entry(++this.#sequence, this.#shared(target), acceptedAt, payload.length, origin);
  }

  #shared(target: string): string {
    const known = this.#targets.get(target);
    if (known !== undefined) return known;
    if (this.#targets.size > 10_000) this.#targets.clear();
    this.#targets.set(target, target);
    return target;
  }

  #enqueue(group: Group): void {
    this.#queue.push(group);
    if (!group.isOwed || !this.#isFailing) this.#wake?.();
    if (this.#isCommitting) return;
    this.#isCommitting = true;
    this.#committing = this.#commitAll();
  }

  async #commitAll(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#takeBatch();
      try {
        await this.#commit(batch);
        if (this.#isFailing) this.#onProblem('events can be written again');
        this.#isFailing = false;
        for (const { onWritten } of batch) onWritten();
        await this.#tidy();
      } catch (error) {
        this.#refuse(batch, error);
        if (this.#isClosed) break;
        if (this.#queue.some(({ isOwed }) => !isOwed) || this.#queue.length === 0) continue;
        await this.#removeSettled().catch(() => undefined);
        await this.#pause();
      }
    }
    this.#isCommitting = false;
  }

  #takeBatch(): readonly Group[] {
    let [groups, records, bytes] = [0, 0, 0];
    for (const { writes } of this.#queue) {
      if (groups > 0 && (records >= BATCH_RECORDS || bytes >= BATCH_BYTES)) break;
      groups += 1;
      records += writes.length;
      for (const { payload } of writes) bytes += payload.length;
    }
    return this.#queue.splice(0, groups);
  }

  async #commit(batch: readonly Group[]): Promise<void> {
    const segment = await this.#segmentToWrite();
    const pieces: Buffer[] = [];
    const places: { readonly entry: Entry; readonly offset: number; readonly length: number }[] = [];
    let offset = segment.end;
    for (const { writes } of batch) {
      for (const { meta, payload, entry } of writes) {
        // A copy of what is settled meanwhile would bring it back.
        if (entry?.isSettling === true) continue;
        const record = encodeRecord(segment.mark, meta(), payload);
        const length = record.reduce((sum, piece) => sum + piece.length, 0);
        pieces.push(...record);
        if (entry !== null) places.push({ entry, offset, length });
        offset += length;
      }
    }
    await segment.append(pieces);
    for (const { entry, ...place } of places) this.#place(entry, segment, place.offset, place.length);
  }

  #refuse(batch: readonly Group[], cause: unknown): void {
    if (!this.#isFailing) this.#onProblem(`events cannot be written: ${messageOf(cause)}`);
    this.#isFailing = true;
    const error = new EventStoreError('unwritable', `the event could not be kept: ${messageOf(cause)}`, { cause });
    const owed = batch.filter(({ isOwed }) => isOwed);
    for (const { isOwed, onFailed } of batch) if (!isOwed) onFailed(error);
    this.#queue.unshift(...owed);
  }

  /** Until the disk may have room again, or somebody asks. */
  async #pause(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, RETRY_MS);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = null;
  }

  async #segmentToWrite(): Promise<Segment> {
    const newest = this.#segments.at(-1);
    if (newest?.isHealthy === true && newest.size < this.#segmentBytes) return newest;
    if (newest !== undefined && newest.size <= FILE_HEADER_BYTES) {
      this.#segments.pop();
      await newest.remove();
    }
    const segment = await Segment.create(this.#directory, this.#nextSegment++);
    this.#segments.push(segment);
    return segment;
  }

  /** The event is in that place from now on. */
  #place(entry: Entry, segment: Segment, offset: number, length: number): void {
    if (entry.segment === null) {
      this.#waitingEvents -= 1;
      this.#entries.set(entry.sequence, entry);
      this.latestMoment = Math.max(this.latestMoment, entry.acceptedAt);
    } else {
      entry.segment.live -= 1;
      this.#liveBytes -= entry.length;
    }
    segment.live += 1;
    this.#liveBytes += length;
    entry.segment = segment;
    entry.offset = offset;
    entry.length = length;
  }

  #forget(entry: Entry): void {
    if (!this.#entries.delete(entry.sequence) || entry.segment === null) return;
    entry.segment.live -= 1;
    this.#liveBytes -= entry.length;
    this.#payloadBytes -= entry.bytes;
  }

  async #tidy(): Promise<void> {
    await this.#removeSettled();
    const bytes = this.#segments.reduce((sum, { size }) => sum + size, 0);
    if (this.#compacting !== null || this.#isClosed || bytes <= 2 * (this.#liveBytes + this.#segmentBytes)) return;
    const [oldest] = this.#segments;
    if (oldest === undefined || this.#segments.length === 1) return;
    this.#compacting = this.#compact(oldest)
      .catch((error: unknown) => this.#onProblem(`${oldest.path} cannot be compacted: ${messageOf(error)}`))
      .finally(() => (this.#compacting = null));
  }

  async #removeSettled(): Promise<void> {
    for (;;) {
      const [oldest] = this.#segments;
      if (oldest === undefined || oldest.live > 0 || this.#segments.length === 1) return;
      this.#segments.shift();
      await oldest.remove();
    }
  }

  /** Writes what is left of a file again, at the end of the journal. */
  async #compact(segment: Segment): Promise<void> {
    const left = [...this.#entries.values()].filter((one) => one.segment === segment);
    while (left.length > 0 && !this.#isClosed) {
      let bytes = 0;
      const some = left.splice(
        0,
        left.findIndex((one, index) => (bytes += one.length) > COPY_BYTES || index === COPY_RECORDS) + 1 || left.length,
      );
      await Promise.all(some.map((entry) => this.#copy(entry, segment)));
    }
  }

  async #copy(entry: Entry, from: Segment): Promise<void> {
    if (entry.isSettling || entry.segment !== from) return;
    const { meta, payload } = await this.#record(entry);
    const write: Write = { meta: () => ({ ...meta, state: entry.state }), payload, entry };
    await new Promise<void>((resolve, reject) => {
      this.#enqueue({ writes: [write], isOwed: false, onWritten: resolve, onFailed: reject });
    });
  }

  async #record(event: StoredEvent): Promise<{ readonly meta: EventMeta; readonly payload: Buffer }> {
    const entry = this.#entries.get(event.sequence);
    if (entry?.segment == null) throw new EventStoreError('closed', 'the event is done');
    const { segment, offset, length } = entry;
    const record = decodeRecord(await segment.read(offset, length), segment.mark);
    if (record?.meta.kind === 'event' && record.meta.sequence === entry.sequence) {
      return { meta: record.meta, payload: record.payload };
    }
    throw new EventStoreError('damaged', `${segment.path} is damaged at byte ${offset}`);
  }

  async #recover(): Promise<void> {
    const numbers = (await readdir(this.#directory)).flatMap((name) => segmentNumber(name) ?? []).sort((a, b) => a - b);
    for (const number of numbers) {
      this.#nextSegment = number + 1;
      const segment = await Segment.open(this.#directory, number);
      if (segment === null) await this.#setAside(number);
      else if (segment instanceof Segment) await this.#recoverSegment(segment);
      else {
        const path = join(this.#directory, fileName(number));
        const what = `${path} was written by another release of snapctr (schema ${segment.schema}, this one knows ${JOURNAL_SCHEMA})`;
        throw new EventStoreError('damaged', `${what}; use that one, or another --data-dir`);
      }
    }
    // Copies stand behind what came after them.
    this.#entries = new Map([...this.#entries].sort(([a], [b]) => a - b));
    await this.#removeSettled();
  }

  /** Its beginning is damaged. One that was just being made has no event yet. */
  async #setAside(number: number): Promise<void> {
    const path = join(this.#directory, fileName(number));
    if ((await stat(path)).size <= FILE_HEADER_BYTES) return unlink(path);
    await rename(path, `${path}.damaged`);
    await sync(this.#directory);
    this.#onProblem(`the beginning of ${path} is damaged: its events are lost; it is kept as ${path}.damaged`);
  }

  async #recoverSegment(segment: Segment): Promise<void> {
    this.#segments.push(segment);
    const end = await segment.scan({
      onRecord: (record, offset, bytes) => this.#replay(record, segment, offset, bytes),
      onDamage: (offset, bytes) =>
        this.#onProblem(`${segment.path} is damaged: ${bytes} bytes from byte ${offset} on are no events`),
    });
    if (end === segment.size) return;
    this.#onProblem(
      `${segment.path} ends with ${segment.size - end} bytes that are no whole event; it is cut after ${end}`,
    );
    await segment.cut(end);
  }

  #replay({ meta, payload }: JournalRecord, segment: Segment, offset: number, bytes: number): void {
    this.#sequence = Math.max(this.#sequence, meta.sequence);
    const known = this.#entries.get(meta.sequence);
    switch (meta.kind) {
      case 'event': {
        const { sequence, acceptedAt, origin = null } = meta;
        const entry = known ?? new Entry(sequence, this.#shared(meta.target), acceptedAt, payload.length, origin);
        if (known === undefined) {
          this.#waitingEvents += 1;
          this.#payloadBytes += payload.length;
        }
        if (meta.state.at !== meta.acceptedAt || meta.state.tries > 0) entry.changed = meta.state;
        return this.#place(entry, segment, offset, bytes);
      }
      case 'state':
        if (known !== undefined) known.changed = meta.state;
        return;
      case 'done':
        if (known !== undefined) this.#forget(known);
    }
  }
}

function fileName(number: number): string {
  return `${String(number).padStart(16, '0')}.events`;
}

function closed(): EventStoreError {
  return new EventStoreError('closed', 'snapctr ends; what was not written is tried by the next one');
}

/** @throws EventStoreError */
function checkSize({ payload, header, target, attributes, origin }: NewEvent): void {
  const meta = JSON.stringify([header, attributes]).length + target.length + (origin?.length ?? 0);
  if (payload.length + FRAME_BYTES + MAX_META_BYTES <= MAX_BODY_BYTES && meta < MAX_META_BYTES / 2) return;
  throw new EventStoreError('full', `an event of ${payload.length} bytes is too large to be kept`);
}

function eventWrite(entry: Entry, event: NewEvent): Write {
  const { id, target, acceptedAt, header, hops, payload, attributes = null } = event;
  const { sequence } = entry;
  const more = {
    ...(attributes === null ? {} : { attributes }),
    ...(entry.origin === null ? {} : { origin: entry.origin }),
  };
  return {
    meta: () => ({ kind: 'event', sequence, id, target, acceptedAt, header, hops, ...more, state: entry.state }),
    payload,
    entry,
  };
}
