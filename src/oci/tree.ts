/**
 * Runs in the builder. The files of an image while its layers are laid over each other, in memory: names and links of strangers
 * are looked up here and nowhere else, so that no link can lead out of the image.
 *
 * ```
 *   layer 1 ──▶ ┌──────┐   an entry takes the place of what was there; of two directories one is made;
 *   layer 2 ──▶ │ Tree │   `.wh.NAME` takes away what is below it under that name,
 *   layer 3 ──▶ └──────┘   `.wh..wh..opq` all that is below the directory
 * ```
 */
import { ImageError } from './image-error.ts';

/** Of all layers; as many as the largest file system for an image has room for. */
export const MAX_ENTRIES = 500_000;
/** Of Linux. */
const MAX_NAME_BYTES = 255;
/** Linux has 4096, of which the place where the tree is written takes some. */
const MAX_PATH_BYTES = 3072;
const MAX_DEPTH = 256;
/** As Linux has it. */
const MAX_LINKS_FOLLOWED = 40;
const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';

export interface Attributes {
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970. */
  readonly mtimeS: number;
}

/** What names lead to; a file may have several. */
export interface Inode {
  readonly attributes: Attributes;
  /** Where its content lies, or to where a link leads. */
  readonly content: { readonly file: string } | { readonly target: string };
  names: number;
}

export interface Directory {
  attributes: Attributes;
  /** Of the last layer that named it, or something in it. */
  layer: number;
  readonly children: Map<string, Child>;
}

export type Child = Directory | Leaf;

export interface Leaf {
  readonly inode: Inode;
  readonly layer: number;
}

const BY_DEFAULT: Attributes = { mode: 0o755, uid: 0, gid: 0, mtimeS: 0 };

export function isDirectory(child: Child): child is Directory {
  return 'children' in child;
}

export interface TreeOptions {
  /** What the layer is called in errors. */
  readonly nameOf: (layer: number) => string;
  /** A file has lost its last name. */
  readonly onGone: (file: string) => void;
}

export class Tree {
  readonly root: Directory = { attributes: BY_DEFAULT, layer: 0, children: new Map() };
  readonly #options: TreeOptions;
  /** Paths that entries were given so far. */
  #entries = 0;
  #layer = 0;

  constructor(options: TreeOptions) {
    this.#options = options;
  }

  /** What is added from now on is of the next layer. */
  beginLayer(): void {
    this.#layer += 1;
  }

  /** @returns whether the name says that something is to be taken away, which then is done. @throws ImageError */
  takeAway(path: string): boolean {
    const segments = this.#segmentsOf(path);
    const name = segments.at(-1);
    if (name === undefined || !name.startsWith(WHITEOUT)) return false;
    this.#count();
    const directory = this.#find(segments.slice(0, -1), path);
    if (directory === null) return true;
    if (name === OPAQUE) this.#emptyOfLower(directory);
    else if (!name.startsWith(`${WHITEOUT}${WHITEOUT}`)) this.#removeLower(directory, name.slice(WHITEOUT.length));
    return true;
  }

  /** @throws ImageError */
  addDirectory(path: string, attributes: Attributes): void {
    const [parent, name] = this.#place(path);
    if (name === null) {
      this.root.attributes = attributes;
      return;
    }
    const there = parent.children.get(name);
    if (there !== undefined && isDirectory(there)) {
      there.attributes = attributes;
      there.layer = this.#layer;
      return;
    }
    this.#put(parent, name, { attributes, layer: this.#layer, children: new Map() });
  }

  /** @throws ImageError; the file is then nobody's. */
  add(path: string, inode: Omit<Inode, 'names'>): void {
    const [parent, name] = this.#place(path);
    if (name === null) throw this.#refuse(path, 'is the root, and no directory');
    this.#put(parent, name, { inode: { ...inode, names: 1 }, layer: this.#layer });
  }

  /** Another name for a file or link. @throws ImageError */
  addName(path: string, target: string): void {
    const segments = this.#segmentsOf(target);
    const directory = this.#find(segments.slice(0, -1), path);
    const there = directory?.children.get(segments.at(-1) ?? '');
    if (there === undefined || isDirectory(there)) {
      throw this.#refuse(
        path,
        `is a hard link to ${shown(target)}, which ${there ? 'is a directory' : 'is not there'}`,
      );
    }
    const [parent, name] = this.#place(path);
    if (name === null) throw this.#refuse(path, 'is the root, and no directory');
    const before = parent.children.get(name);
    if (before !== undefined && !isDirectory(before) && before.inode === there.inode) return;
    there.inode.names += 1;
    this.#put(parent, name, { inode: there.inode, layer: this.#layer });
  }

  /** What is there goes, and nothing takes its place: such as for a device, which is not made. @throws ImageError */
  leaveOut(path: string): void {
    const [parent, name] = this.#place(path);
    if (name !== null) this.#remove(parent, name);
  }

  /** What a path leads to, links followed; null: nothing, or links without end. */
  lookUp(path: string): Child | null {
    const budget = { left: MAX_LINKS_FOLLOWED };
    return this.#walk(partsOf(path), budget)?.at(-1) ?? null;
  }

  /** @throws ImageError */
  #segmentsOf(path: string): readonly string[] {
    const segments = partsOf(path);
    if (segments.includes('..')) throw this.#refuse(path, 'leads out of the image by ".."');
    if (path.includes('\0')) throw this.#refuse(path, 'has a NUL in its name');
    if (segments.some((segment) => Buffer.byteLength(segment) > MAX_NAME_BYTES)) {
      throw this.#refuse(path, `has a name of more than ${MAX_NAME_BYTES} bytes`);
    }
    if (Buffer.byteLength(path) > MAX_PATH_BYTES || segments.length > MAX_DEPTH) {
      throw this.#refuse(path, `is longer than ${MAX_PATH_BYTES} bytes, or deeper than ${MAX_DEPTH} directories`);
    }
    return segments;
  }

  /** The directory of a new entry, which is made if it is not there, and its name in it; null: it is the root. */
  #place(path: string): readonly [parent: Directory, name: string | null] {
    const segments = this.#segmentsOf(path);
    this.#count();
    const name = segments.at(-1);
    if (name === undefined) return [this.root, null];
    let way: readonly Directory[] = [this.root];
    for (const segment of segments.slice(0, -1)) {
      const parent = way.at(-1) ?? this.root;
      let there = parent.children.get(segment);
      if (there === undefined) {
        this.#count();
        there = { attributes: BY_DEFAULT, layer: this.#layer, children: new Map() };
        parent.children.set(segment, there);
      }
      const next = isDirectory(there) ? [...way, there] : this.#follow(way, there.inode, { left: MAX_LINKS_FOLLOWED });
      if (next === null || next.length > MAX_DEPTH || !next.every(isDirectory)) {
        throw this.#refuse(path, `is below ${shown(segment)}, which is no directory`);
      }
      way = next;
      // It holds what this layer brings, and goes by none of its whiteouts.
      const last = next.at(-1);
      if (last !== undefined) last.layer = this.#layer;
    }
    return [way.at(-1) ?? this.root, name];
  }

  /** Links followed; null: it is not there. @throws ImageError if it is no directory. */
  #find(segments: readonly string[], path: string): Directory | null {
    const found = this.#walk(segments, { left: MAX_LINKS_FOLLOWED });
    const last = found?.at(-1);
    if (last === undefined) return null;
    if (isDirectory(last)) return last;
    throw this.#refuse(path, 'is below what is no directory');
  }

  /** The directories from the root to what the segments lead to, and that, which may be a file; null: there is nothing. */
  #walk(
    segments: readonly string[],
    budget: { left: number },
    from: readonly Directory[] = [this.root],
  ): readonly Child[] | null {
    let way: readonly Child[] = from;
    for (const segment of segments) {
      if (!way.every(isDirectory)) return null;
      if (segment === '..') {
        // Of the root it is the root itself.
        way = way.length > 1 ? way.slice(0, -1) : way;
        continue;
      }
      const there = way.at(-1)?.children.get(segment);
      if (there === undefined || way.length > MAX_DEPTH) return null;
      const isThere = isDirectory(there) || 'file' in there.inode.content;
      const next = isThere ? [...way, there] : this.#follow(way, there.inode, budget);
      if (next === null) return null;
      way = next;
    }
    return way;
  }

  /** As `#walk`, from the directory that the link is in. */
  #follow(from: readonly Directory[], { content }: Inode, budget: { left: number }): readonly Child[] | null {
    if (!('target' in content) || (budget.left -= 1) < 0) return null;
    return this.#walk(partsOf(content.target), budget, content.target.startsWith('/') ? [this.root] : from);
  }

  #put(parent: Directory, name: string, child: Child): void {
    this.#remove(parent, name);
    parent.children.set(name, child);
  }

  #remove(parent: Directory, name: string): void {
    const there = parent.children.get(name);
    if (there === undefined) return;
    parent.children.delete(name);
    this.#forget(there);
  }

  #forget(child: Child): void {
    if (isDirectory(child)) {
      for (const inner of child.children.values()) this.#forget(inner);
      return;
    }
    const { inode } = child;
    inode.names -= 1;
    if (inode.names === 0 && 'file' in inode.content) this.#options.onGone(inode.content.file);
  }

  /** What this layer itself has brought stays, wherever in it the whiteout comes. */
  #removeLower(parent: Directory, name: string): void {
    const there = parent.children.get(name);
    if (there === undefined) return;
    if (there.layer < this.#layer) this.#remove(parent, name);
    else if (isDirectory(there)) this.#emptyOfLower(there);
  }

  #emptyOfLower(directory: Directory): void {
    for (const name of [...directory.children.keys()]) this.#removeLower(directory, name);
  }

  #count(): void {
    this.#entries += 1;
    if (this.#entries > MAX_ENTRIES) {
      throw new ImageError('too_large', `the image has more than ${MAX_ENTRIES} entries in its layers; leave some out`);
    }
  }

  #refuse(path: string, why: string): ImageError {
    const layer = this.#options.nameOf(this.#layer);
    return new ImageError('bad_image', `${layer}: ${shown(path)} ${why}; build the image again without it`);
  }
}

function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

function shown(path: string): string {
  return JSON.stringify(path.length > 200 ? `${path.slice(0, 200)}…` : path);
}
