/** The journal of events, as it is found on a disk. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EventStoreError } from '../../../src/controller/events/event-store.ts';
import { encodeRecord, fileHeader, type RecordMeta } from '../../../src/controller/events/journal-record.ts';
import { Journal } from '../../../src/controller/events/journal.ts';
import type { ParserTarget } from '../target.ts';

const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'snapfaas-fuzz-journal-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

const MARK = Buffer.from('12345678');

/** Whatever is in a file: what is opened can be opened again with the same events, and each of them read. */
export const JOURNAL: ParserTarget = {
  name: 'journal',
  tokens: ['snapfaas', '12345678', '{"kind":"done","sequence":1}', '\0\0\0\0', '\xff\xff\xff\xff'],
  generate: (random) => {
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
  },
  check: async (input, { isValid }) => {
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
    const found: string[] = [];
    for (const event of journal.events())
      found.push(`${event.sequence} ${(await journal.read(event)).payload.toString()}`);
    await journal.close();
    problems.length = 0;
    const again = await open();
    const second: string[] = [];
    for (const event of again.events())
      second.push(`${event.sequence} ${(await again.read(event)).payload.toString()}`);
    await again.close();
    assert.deepEqual(second, found);
  },
};
