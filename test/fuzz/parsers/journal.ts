/** The journal of events, as it is found on a disk. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EventStoreError } from '../../../src/controller/events/event-store.ts';
import {
  decodeRecord,
  encodeRecord,
  FILE_HEADER_BYTES,
  fileHeader,
  FRAME_BYTES,
  readFileHeader,
  type RecordMeta,
} from '../../../src/controller/events/journal-record.ts';
import { scanRecords } from '../../../src/controller/events/journal-segment.ts';
import { Journal } from '../../../src/controller/events/journal.ts';
import type { Random } from '../random.ts';
import type { ParserTarget } from '../target.ts';

/** Of so many cases, one goes to the disk. */
const ONE_ON_DISK_OF = 50;

const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'snapfaas-fuzz-journal-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

const MARK = Buffer.from('12345678');

interface Found {
  readonly records: readonly string[];
  /** First byte and length. */
  readonly damages: readonly (readonly [number, number])[];
  readonly end: number;
}

/** Whatever is read at once, the same is found; every byte is of a record, of a damage, or behind the last record. */
async function scan(input: Buffer, mark: Buffer, windowBytes: number): Promise<Found> {
  const records: string[] = [];
  const damages: [number, number][] = [];
  let at = FILE_HEADER_BYTES;
  const read = (offset: number, bytes: number): Promise<Buffer> =>
    Promise.resolve(Buffer.from(input.subarray(offset, offset + bytes)));
  const end = await scanRecords(
    { size: input.length, mark, windowBytes, read },
    {
      onRecord(record, offset, bytes) {
        assert.equal(offset, at);
        at += bytes;
        assert.deepEqual(decodeRecord(input.subarray(offset, at), mark), record);
        const again = Buffer.concat(encodeRecord(mark, record.meta, record.payload));
        assert.deepEqual(decodeRecord(again, mark), record);
        records.push(`${offset} ${record.meta.kind} ${record.meta.sequence} ${record.payload.toString('latin1')}`);
      },
      onDamage(offset, bytes) {
        assert.ok(offset === at && bytes > 0);
        at += bytes;
        damages.push([offset, bytes]);
      },
    },
  );
  assert.equal(end, at);
  return { records, damages, end };
}

async function openOnDisk(input: Buffer, isValid: boolean): Promise<void> {
  rmSync(directory, { recursive: true, force: true });
  const problems: string[] = [];
  const open = (): Promise<Journal> => Journal.open(directory, { onProblem: (message) => problems.push(message) });
  await (await open()).close();
  writeFileSync(join(directory, '0000000000000001.events'), input);
  let journal;
  try {
    journal = await open();
  } catch (error) {
    assert.ok(error instanceof EventStoreError && !isValid, String(error));
    return;
  }
  if (isValid) assert.deepEqual(problems, []);
  const found = await eventsOf(journal);
  problems.length = 0;
  // What was mended once is whole.
  assert.deepEqual(await eventsOf(await open()), found);
}

/** Closes it. */
async function eventsOf(journal: Journal): Promise<readonly string[]> {
  const events: string[] = [];
  for (const event of journal.events())
    events.push(`${event.sequence} ${(await journal.read(event)).payload.toString()}`);
  await journal.close();
  return events;
}

function recordsOf(random: Random): Buffer {
  const pieces: Buffer[] = [fileHeader(MARK)];
  for (let sequence = 1; sequence < 6; sequence += 1) {
    const state = { status: random.pick(['pending', 'dead'] as const), tries: 1, at: 5, reason: null };
    const metas: readonly [RecordMeta, ...RecordMeta[]] = [
      { kind: 'event', sequence, id: 'i', target: 'function:f', acceptedAt: 5, header: {}, hops: 0, state },
      { kind: 'state', sequence, state },
      { kind: 'done', sequence },
    ];
    pieces.push(...encodeRecord(MARK, random.pick(metas), Buffer.from('{}')));
  }
  return Buffer.concat(pieces);
}

/** Whatever is in a file: what is opened can be opened again with the same events, and each of them read. */
export const JOURNAL: ParserTarget = {
  name: 'journal',
  tokens: ['snapfaas', '12345678', '{"kind":"done","sequence":1}', '\0\0\0\0', '\xff\xff\xff\xff'],
  generate: recordsOf,
  check: async (input, { isValid, random }) => {
    const header = readFileHeader(input);
    if (header === null) assert.ok(!isValid);
    else {
      const whole = await scan(input, header.mark, input.length);
      assert.deepEqual(await scan(input, header.mark, FRAME_BYTES + random.below(100)), whole);
      if (isValid) assert.deepEqual([whole.records.length, whole.damages, whole.end], [5, [], input.length]);
    }
    if (random.oneIn(ONE_ON_DISK_OF)) await openOnDisk(input, isValid);
  },
};
