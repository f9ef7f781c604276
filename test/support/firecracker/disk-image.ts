/** Runs in the fake Firecracker. Looks into ext4 images as a guest would that mounts them, with debugfs of e2fsprogs. */
import { execFile } from 'node:child_process';
import { closeSync, openSync, readSync } from 'node:fs';

const BLANK_BYTES = 4096;
/** Debian keeps it in a directory that is in root's PATH only. */
const TOOL_PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
const PATIENCE_MS = 60_000;

/** Whether a disk begins with zeros: it keeps the place of one, and has no file system. */
export function isBlank(image: string): boolean {
  const block = Buffer.alloc(BLANK_BYTES);
  const fd = openSync(image, 'r');
  try {
    return readSync(fd, block) === BLANK_BYTES && block.every((byte) => byte === 0);
  } finally {
    closeSync(fd);
  }
}

/** A small text file in an image. @throws Error if it cannot be read. */
export async function readImageFile(image: string, path: string): Promise<string> {
  const { stdout, stderr } = await debugfs(`cat ${path}`, image);
  if (stdout === '') throw new Error(`${path} in ${image} cannot be read: ${stderr.trim()}`);
  return stdout;
}

/** Copies all files of an image into a directory. @throws Error if the image has no file system that can be read. */
export async function extractImage(image: string, directory: string): Promise<void> {
  const { stderr } = await debugfs(`rdump / ${directory}`, image);
  // Owners cannot be set without root, which nobody needs here.
  const problems = stderr.split('\n').filter((line) => !/^$|^debugfs \d|while changing ownership/.test(line));
  if (problems.length > 0) throw new Error(`${image} cannot be mounted: ${problems.join('; ')}`);
}

function debugfs(command: string, image: string): Promise<{ stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const options = { encoding: 'utf8', env: { PATH: TOOL_PATH }, timeout: PATIENCE_MS } as const;
    execFile('debugfs', ['-R', command, image], options, (error, stdout, stderr) => {
      if (error === null) resolve({ stdout, stderr });
      else reject(new Error(`debugfs (Debian package e2fsprogs) failed: ${error.message}`, { cause: error }));
    });
  });
}
