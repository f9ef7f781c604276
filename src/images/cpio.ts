/**
 * Runs in the builder and in `npm start`. Writes an initial RAM disk: a cpio archive in the kernel's "newc" form
 * (Documentation/driver-api/early-userspace/buffer-format.rst). The same entries always give the same bytes: no
 * times, no owners, inode numbers by position.
 */

export type CpioEntry =
  | { readonly path: string; readonly type: 'directory'; readonly mode: number }
  | { readonly path: string; readonly type: 'file'; readonly mode: number; readonly data: Uint8Array }
  | {
      readonly path: string;
      readonly type: 'character-device';
      readonly mode: number;
      readonly major: number;
      readonly minor: number;
    };

const TYPE_BITS = { directory: 0o040000, file: 0o100000, 'character-device': 0o020000 } as const;
const TRAILER = 'TRAILER!!!';

/** The archive of `entries`, sorted by path so that a directory comes before what is in it. Paths have no leading slash. */
export function encodeCpio(entries: readonly CpioEntry[]): Buffer {
  const sorted = [...entries].sort((left, right) => (left.path < right.path ? -1 : 1));
  const parts = sorted.flatMap((entry, index) => encodeEntry(entry, index + 1));
  parts.push(header({ inode: 0, mode: 0, links: 1, bytes: 0, major: 0, minor: 0, path: TRAILER }));
  const archive = Buffer.concat(parts);
  // Readers such as cpio(1) take whole blocks of 512 bytes.
  return Buffer.concat([archive, Buffer.alloc((512 - (archive.length % 512)) % 512)]);
}

function encodeEntry(entry: CpioEntry, inode: number): Buffer[] {
  const data = entry.type === 'file' ? entry.data : Buffer.alloc(0);
  const [major, minor] = entry.type === 'character-device' ? [entry.major, entry.minor] : [0, 0];
  const mode = TYPE_BITS[entry.type] | entry.mode;
  const links = entry.type === 'directory' ? 2 : 1;
  const start = header({ inode, mode, links, bytes: data.length, major, minor, path: entry.path });
  return [start, Buffer.from(data), Buffer.alloc(padding(data.length))];
}

interface HeaderFields {
  readonly inode: number;
  readonly mode: number;
  readonly links: number;
  readonly bytes: number;
  readonly major: number;
  readonly minor: number;
  readonly path: string;
}

/** Magic, thirteen numbers of eight hex digits, the name with its NUL, padded to four bytes. */
function header(fields: HeaderFields): Buffer {
  const name = Buffer.from(`${fields.path}\0`);
  const numbers = [fields.inode, fields.mode, 0, 0, fields.links, 0, fields.bytes, 0, 0, fields.major, fields.minor];
  const text = [...numbers, name.length, 0].map((value) => value.toString(16).padStart(8, '0')).join('');
  const start = Buffer.concat([Buffer.from(`070701${text}`), name]);
  return Buffer.concat([start, Buffer.alloc(padding(start.length))]);
}

function padding(length: number): number {
  return (4 - (length % 4)) % 4;
}
