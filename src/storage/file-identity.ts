/** Runs in each program. Which file a path leads to, and in which state. */
import { statSync, type BigIntStats } from 'node:fs';

/**
 * Changes with every write to a file, and when another file takes its place; not with `ctime`, which also changes when the
 * file is linked, as it is into jails. Costs some microseconds.
 */
export function fileIdentity(path: string): string {
  const { dev, ino, size, mtimeNs }: BigIntStats = statSync(path, { bigint: true });
  return `${dev} ${ino} ${size} ${mtimeNs}`;
}
