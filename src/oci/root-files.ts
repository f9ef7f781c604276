/** Runs in the builder. What an image lacks to be the root of a guest, and whose files are those of the function. */
import { readFile, stat } from 'node:fs/promises';
import { ImageError } from './image-error.ts';
import type { ImageSettings } from './manifest.ts';
import { isDirectory, type Attributes, type Tree } from './tree.ts';
import type { Unpacked } from './unpack.ts';

/** Who runs functions in guests; `guest/init/runtime.c` has the same number. */
const FUNCTION_ID = 1000;
const OWN: Attributes = { mode: 0o755, uid: 0, gid: 0, mtimeS: 1_577_836_800 };
/** Init mounts something on each. */
const MOUNT_POINTS = ['proc', 'sys', 'dev', 'run', 'tmp'] as const;
const MOUNTED_FILES = ['etc/hostname', 'etc/hosts', 'etc/resolv.conf'] as const;
/** Read by `guest/runtime-api/container.c`. */
const IMAGE_FILE = '.snapfaas/image.json';
const MAX_IMAGE_FILE_BYTES = 1024 * 1024;
const MAX_TABLE_BYTES = 1024 * 1024;
const PASSWD = 'etc/passwd';

/** Raised when the same image is to become other files than before. */
export const ROOT_RULES_VERSION = 1;

/** @returns how owners are to be changed; they are left as they are in the tree. @throws ImageError */
export async function completeRoot(
  { tree, newFile }: Unpacked,
  settings: ImageSettings,
): Promise<(attributes: Attributes) => Attributes> {
  const user = await readUser(tree, settings.user);
  tree.beginLayer();
  const place = async (path: string, content: string): Promise<void> => {
    tree.add(path, { attributes: { ...OWN, mode: 0o644 }, content: { file: await newFile(content) } });
  };
  // A link there, such as /run, would lead init elsewhere.
  for (const path of MOUNT_POINTS) if (!isDirectoryAt(tree, path)) tree.addDirectory(path, OWN);
  tree.addDirectory('tmp', { ...OWN, mode: 0o1777 });
  if (tree.lookUp('etc') === null) tree.addDirectory('etc', OWN);
  for (const path of MOUNTED_FILES) await place(path, '');
  const { workingDirectory } = settings;
  const directory = workingDirectory === '' ? '/' : workingDirectory;
  if (tree.lookUp(directory) === null) tree.addDirectory(directory, { ...OWN, uid: user.uid, gid: user.gid });
  const passwd = await readTable(tree, PASSWD);
  await place(PASSWD, passwdWith(passwd, user.uid));
  const image = {
    entry_point: settings.entryPoint,
    command: settings.command,
    working_directory: directory,
    environment: settings.environment,
  };
  const text = JSON.stringify(image);
  if (Buffer.byteLength(text) > MAX_IMAGE_FILE_BYTES) {
    throw new ImageError('too_large', "the image's ENV, ENTRYPOINT and CMD are larger than 1 MiB; shorten them");
  }
  tree.leaveOut('.snapfaas');
  tree.addDirectory('.snapfaas', OWN);
  await place(IMAGE_FILE, text);
  return ownersFor(user);
}

/** Not through a link. */
function isDirectoryAt(tree: Tree, name: string): boolean {
  const there = tree.root.children.get(name);
  return there !== undefined && isDirectory(there);
}

interface User {
  readonly uid: number;
  readonly gid: number;
}

/**
 * The user of an image has the number of functions in guests, and whoever had that number has the user's. Root stays root: a
 * function is never root, as on AWS.
 */
function ownersFor({ uid, gid }: User): (attributes: Attributes) => Attributes {
  const swap = (id: number, other: number): number => (id === other ? FUNCTION_ID : id === FUNCTION_ID ? other : id);
  return (attributes) => ({
    ...attributes,
    uid: uid === 0 ? attributes.uid : swap(attributes.uid, uid),
    gid: gid === 0 ? attributes.gid : swap(attributes.gid, gid),
  });
}

/** `USER` as Docker has it: a name or number, and behind a colon a group. */
async function readUser(tree: Tree, text: string): Promise<User> {
  const [name = '', group = ''] = text.split(':', 2);
  const users = await readTable(tree, PASSWD);
  const groups = await readTable(tree, 'etc/group');
  const line = name === '' ? undefined : users.find(([known, , uid]) => known === name || uid === name);
  const uid = name === '' ? 0 : idOf(line?.[2] ?? name);
  const groupLine = group === '' ? undefined : groups.find(([known, , gid]) => known === group || gid === group);
  // A number of nobody in particular is in the group of root, as Docker has it.
  const gid = idOf(group === '' ? (line?.[3] ?? '0') : (groupLine?.[2] ?? group));
  if (uid === null || gid === null) {
    const missing = uid === null ? `the user ${JSON.stringify(name)}` : `the group ${JSON.stringify(group)}`;
    throw new ImageError(
      'bad_image',
      `the image's USER is ${JSON.stringify(text)}, and ${missing} is not in it; add it, or name a number`,
    );
  }
  return { uid, gid };
}

function idOf(text: string): number | null {
  const id = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  return id < 0xffff_ffff ? id : null;
}

/** Of lines with fields between colons; empty if there is none. */
async function readTable(tree: Tree, path: string): Promise<readonly (readonly string[])[]> {
  const there = tree.lookUp(path);
  if (there === null || isDirectory(there) || !('file' in there.inode.content)) return [];
  const { file } = there.inode.content;
  if ((await stat(file)).size > MAX_TABLE_BYTES)
    throw new ImageError('bad_image', `/${path} of the image is larger than 1 MiB`);
  const lines = (await readFile(file, 'utf8')).split('\n').filter((line) => line !== '');
  return lines.map((line) => line.split(':'));
}

/** So that the function has a name, which programs look up: that of the image's user. */
function passwdWith(lines: readonly (readonly string[])[], uid: number): string {
  const id = String(FUNCTION_ID);
  const known = uid === 0 ? lines : lines.map((line) => swapped(line, String(uid), id));
  const hasName = known.some(([, , number]) => number === id);
  const added = hasName ? [] : [['function', 'x', id, id, 'function', '/tmp', '/bin/sh']];
  const root = lines.length === 0 ? [['root', 'x', '0', '0', 'root', '/root', '/bin/sh']] : [];
  return [...root, ...known, ...added].map((line) => `${line.join(':')}\n`).join('');
}

function swapped(line: readonly string[], one: string, other: string): readonly string[] {
  const [, , uid] = line;
  if (uid !== one && uid !== other) return line;
  return line.map((field, index) => (index === 2 ? (uid === one ? other : one) : field));
}
