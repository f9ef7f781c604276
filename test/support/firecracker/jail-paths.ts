/**
 * Runs in the fake Firecracker. A Node program cannot be put into a root of its own (its libraries are outside), so the
 * fake finds paths the way a process in the jail would: all from the jail's root, which is the working directory.
 * Stricter than a root: what leads out of it is an error, where the kernel would stop at the root.
 */
import { lstatSync, readlinkSync } from 'node:fs';
import { isAbsolute, join, relative, sep } from 'node:path';

/** Bytes of a unix socket's path, the ending zero not counted. */
const MAX_SOCKET_PATH_BYTES = 107;
const MAX_LINKS = 40;

export class JailPaths {
  readonly #root: string | null;

  /** @param root null: no jail, paths are the host's. */
  constructor(root: string | null) {
    this.#root = root;
  }

  /**
   * The host's path of a path in the jail, from the working directory, which is the root: the way to it may be closed to the
   * jail's user. The last component need not exist.
   *
   * @throws Error if the path leads out of the jail.
   */
  resolve(path: string): string {
    if (path === '') throw new Error('an empty path was given');
    const root = this.#root;
    if (root === null) return path;
    let found = root;
    const left = path.split('/').filter((name) => name !== '' && name !== '.');
    for (let links = 0; left.length > 0;) {
      const name = left.shift() ?? '';
      const next = join(found, name);
      if (next !== root && !next.startsWith(root + sep)) throw new Error(`${path} leads out of the jail ${root}`);
      const target = linkTarget(`./${relative(root, next)}`);
      if (target === null) {
        found = next;
        continue;
      }
      if (++links > MAX_LINKS) throw new Error(`${path} has too many symbolic links`);
      if (isAbsolute(target)) found = root;
      left.unshift(...target.split('/').filter((part) => part !== '' && part !== '.'));
    }
    return `./${relative(root, found)}`;
  }

  /**
   * The path to bind a socket to.
   *
   * @throws Error if it is too long or leads out of the jail.
   */
  socket(path: string): string {
    const bytes = Buffer.byteLength(path);
    if (bytes > MAX_SOCKET_PATH_BYTES) {
      throw new Error(`the socket path ${path} has ${bytes} bytes; at most ${MAX_SOCKET_PATH_BYTES} are allowed`);
    }
    return this.resolve(path);
  }
}

function linkTarget(path: string): string | null {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : null;
  } catch {
    return null;
  }
}
