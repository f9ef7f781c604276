/**
 * Runs in the builder. What the directory of a zip archive says, checked before anything is written:
 *
 * ```
 *   names ──▶ places in a tree: no two the same, nothing below a file or a link ──▶ sizes in all
 * ```
 *
 * Nothing is ever written through a link, because nothing is below one. Links are made last.
 */
import type { Entry } from 'yauzl';
import { PackageError } from './package-error.ts';

/** AWS Lambda's limit on what a package holds, in bytes. */
export const MAX_UNPACKED_BYTES = 250 * 1024 * 1024;
/** As many as the largest image of a function has room for. */
export const MAX_ENTRIES = 131_072;
/** Of Linux. */
const MAX_NAME_BYTES = 255;
/** Linux has 4096, of which the place where the package is unpacked takes some. */
const MAX_PATH_BYTES = 3072;
const MAX_DEPTH = 256;
/** Of a symbolic link, in bytes. */
const MAX_TARGET_BYTES = 3072;

/** Types of files in Unix modes. */
const TYPES: Readonly<Record<number, string>> = {
  0o010000: 'a FIFO',
  0o020000: 'a device',
  0o040000: 'directory',
  0o060000: 'a device',
  0o100000: 'file',
  0o120000: 'symlink',
  0o140000: 'a socket',
};
/** Systems of makers whose modes are Unix modes: Unix, macOS. */
const UNIX: ReadonlySet<number> = new Set([3, 19]);
const DOS_DIRECTORY = 0x10;
/** PKWARE's field of Unix: more than times and owners is the name of what a hard link leads to. */
const UNIX_FIELD = 0x000d;
const UNIX_FIELD_BYTES = 12;

export interface PlannedEntry {
  /** Without needless parts. */
  readonly path: string;
  readonly type: 'file' | 'directory' | 'symlink';
  /** Permission bits for user, group and others. */
  readonly mode: number;
  readonly entry: Entry;
}

/** Takes the entries one after the other. */
export class Plan {
  /** By path. */
  readonly #entries = new Map<string, PlannedEntry>();
  /** Those that entries are in. */
  readonly #directories = new Set<string>();
  readonly #maxBytes: number;
  #count = 0;
  #bytes = 0;

  /** @param maxBytes `MAX_UNPACKED_BYTES`, less what was unpacked beside it. */
  constructor(maxBytes = MAX_UNPACKED_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** Unpacked. */
  get bytes(): number {
    return this.#bytes;
  }

  /** @throws PackageError */
  add(entry: Entry): void {
    this.#count += 1;
    if (this.#count > MAX_ENTRIES) {
      throw new PackageError('too_many_entries', `the package has more than ${MAX_ENTRIES} entries; leave some out`);
    }
    const name = decode(entry.fileNameRaw);
    const shown = JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}…` : name);
    const segments = segmentsOf(name, shown);
    const type = typeOf(entry, name, shown);
    checkContents(entry, type, shown);
    this.#bytes += entry.uncompressedSize;
    if (this.#bytes > this.#maxBytes) {
      const limit = `${MAX_UNPACKED_BYTES / 1024 / 1024} MB unpacked`;
      const what =
        this.#maxBytes === MAX_UNPACKED_BYTES
          ? `the package is larger than ${limit}`
          : `the function's code and its layers are together larger than ${limit}`;
      throw new PackageError('too_large', `${what}; leave files out`);
    }
    if (segments.length === 0) {
      if (type === 'directory') return;
      throw new PackageError('bad_name', `the package has an entry without a name (${shown}); make it anew`);
    }
    this.#place(segments, { path: segments.join('/'), type, mode: modeOf(entry, type), entry: slim(entry) }, shown);
  }

  /** Directories that are needed, each after those it is in; and the rest. @throws PackageError if there are no files. */
  finish(): { readonly directories: ReadonlyMap<string, number>; readonly others: readonly PlannedEntry[] } {
    const others = [...this.#entries.values()].filter(({ type }) => type !== 'directory');
    if (others.length === 0) throw new PackageError('empty', 'the package has no files; put the function into it');
    const named = [...this.#entries.values()].flatMap(({ path, type }) => (type === 'directory' ? [path] : []));
    const paths = [...new Set([...this.#directories, ...named])].sort();
    return { directories: new Map(paths.map((path) => [path, this.#entries.get(path)?.mode ?? 0o755])), others };
  }

  #place(segments: readonly string[], planned: PlannedEntry, shown: string): void {
    let parent = '';
    for (const segment of segments.slice(0, -1)) {
      parent = parent === '' ? segment : `${parent}/${segment}`;
      const other = this.#entries.get(parent);
      if (other !== undefined && other.type !== 'directory')
        throw conflict(shown, `is below ${parent}, which is no directory`);
      this.#directories.add(parent);
    }
    const same = this.#entries.get(planned.path);
    // Tools that add to an archive name directories again.
    if (same !== undefined && same.type === 'directory' && planned.type === 'directory') return;
    if (same !== undefined) throw conflict(shown, 'is there twice');
    if (planned.type !== 'directory' && this.#directories.has(planned.path)) {
      throw conflict(shown, 'is both a directory and not one');
    }
    this.#entries.set(planned.path, planned);
  }
}

/**
 * The target of a symbolic link, if it stays in the package. Parts `..` may only come first: behind a name that is itself a link
 * they would lead elsewhere than they seem to.
 *
 * @throws PackageError
 */
export function checkTarget(path: string, content: Buffer): string {
  const refuse = (why: string): never => {
    throw new PackageError(
      'bad_link',
      `${JSON.stringify(path)} is a symbolic link ${why}; put the file itself into the package`,
    );
  };
  if (content.length === 0 || content.length > MAX_TARGET_BYTES || content.includes(0))
    return refuse('without a usable target');
  const target = decode(content);
  if (target.startsWith('/')) return refuse(`to the absolute path ${JSON.stringify(target)}`);
  const parts = target.split('/').filter((part) => part !== '' && part !== '.');
  const ups = parts.findIndex((part) => part !== '..');
  const climbs = ups === -1 ? parts.length : ups;
  if (parts.slice(climbs).includes('..'))
    return refuse(`whose target ${JSON.stringify(target)} has ".." behind a name`);
  if (climbs > path.split('/').length - 1)
    return refuse(`to ${JSON.stringify(target)}, which is outside of the package`);
  return target;
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    const shown = JSON.stringify(bytes.subarray(0, 200).toString('latin1'));
    throw new PackageError('bad_name', `the name ${shown} is not UTF-8; make the package with UTF-8 names`, { cause });
  }
}

function segmentsOf(name: string, shown: string): readonly string[] {
  const refuse = (why: string): never => {
    throw new PackageError('bad_name', `the name ${shown} ${why}`);
  };
  if (name === '') return [];
  if (name.includes('\0')) refuse('has a NUL; rename the file');
  if (name.includes('\\')) refuse('has a backslash; make the package with a tool that writes / between names');
  if (name.startsWith('/') || /^[A-Za-z]:/.test(name)) refuse('is absolute; names must be relative to the function');
  const segments = name.split('/').filter((segment) => segment !== '' && segment !== '.');
  if (segments.includes('..'))
    refuse('leads out of the package by ".."; make the package in the directory of the function');
  if (segments.some((segment) => Buffer.byteLength(segment) > MAX_NAME_BYTES)) {
    refuse(`has a part of more than ${MAX_NAME_BYTES} bytes; shorten it`);
  }
  if (Buffer.byteLength(name) > MAX_PATH_BYTES) refuse(`is longer than ${MAX_PATH_BYTES} bytes; shorten it`);
  if (segments.length > MAX_DEPTH) refuse(`is more than ${MAX_DEPTH} directories deep; flatten it`);
  return segments;
}

function typeOf(entry: Entry, name: string, shown: string): PlannedEntry['type'] {
  const unix = unixMode(entry);
  const type = TYPES[unix & 0o170000];
  const isDirectory = name.endsWith('/') || type === 'directory' || (type === undefined && isDosDirectory(entry));
  if (type !== undefined && type !== 'file' && type !== 'directory' && type !== 'symlink') {
    throw new PackageError('special_file', `${shown} is ${type}; leave it out`);
  }
  const field = entry.extraFields.find(({ id }) => id === UNIX_FIELD);
  if (type !== 'symlink' && field !== undefined && field.data.length > UNIX_FIELD_BYTES) {
    throw new PackageError('special_file', `${shown} is a hard link or a device; put the file itself into the package`);
  }
  if (!isDirectory) return type === 'symlink' ? 'symlink' : 'file';
  if (entry.uncompressedSize > 0 || type === 'symlink') {
    throw new PackageError('damaged', `${shown} is a directory with contents; make the package anew`);
  }
  return 'directory';
}

function checkContents(entry: Entry, type: PlannedEntry['type'], shown: string): void {
  if (entry.isEncrypted()) {
    throw new PackageError('encrypted', `${shown} is encrypted; make the package without a password`);
  }
  if (!entry.canDecodeFileData()) {
    const method = `is compressed by method ${entry.compressionMethod}`;
    throw new PackageError('unsupported_compression', `${shown} ${method}; use "deflate" or "store"`);
  }
  if (type === 'symlink' && entry.uncompressedSize > MAX_TARGET_BYTES) {
    throw new PackageError(
      'bad_link',
      `${shown} is a symbolic link with a target of more than ${MAX_TARGET_BYTES} bytes`,
    );
  }
}

/** Without bits that would change whose rights a program has; readable for us. */
function modeOf(entry: Entry, type: PlannedEntry['type']): number {
  const mode = unixMode(entry) & 0o777;
  if (type === 'directory') return mode === 0 ? 0o755 : mode | 0o700;
  return mode === 0 ? 0o644 : mode | 0o600;
}

/** 0 if its maker has no Unix modes. */
function unixMode(entry: Entry): number {
  return UNIX.has(entry.versionMadeBy >>> 8) ? entry.externalFileAttributes >>> 16 : 0;
}

function isDosDirectory(entry: Entry): boolean {
  return !UNIX.has(entry.versionMadeBy >>> 8) && (entry.externalFileAttributes & DOS_DIRECTORY) !== 0;
}

function conflict(shown: string, how: string): PackageError {
  return new PackageError('conflict', `${shown} ${how}; make the package anew`);
}

/** Comments and further fields may be long, and all entries are kept until the last is read. */
function slim(entry: Entry): Entry {
  const none = Buffer.alloc(0);
  entry.fileNameRaw = Buffer.from(entry.fileNameRaw);
  return Object.assign(entry, {
    extraFieldRaw: none,
    fileCommentRaw: none,
    extraFields: [],
    fileName: '',
    comment: '',
    fileComment: '',
  });
}
