/** Small programs that stand in for those of the host: directories of them, put before or in place of PATH. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

export interface StandIns {
  readonly directory: string;
  /** Writes a shell script; returns its path. Without `executable` it may not be run. */
  add(name: string, body: string, options?: { readonly executable: boolean }): string;
  /** Writes bytes as they are. */
  addBytes(name: string, bytes: Uint8Array): string;
  remove(): void;
}

export function createStandIns(): StandIns {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-bin-'));
  const write = (name: string, contents: string | Uint8Array, mode: number): string => {
    const path = join(directory, name);
    mkdirSync(directory, { recursive: true });
    writeFileSync(path, contents, { mode });
    return path;
  };
  return {
    directory,
    add: (name, body, { executable } = { executable: true }) =>
      write(name, `#!/bin/sh\n${body}\n`, executable ? 0o755 : 0o644),
    addBytes: (name, bytes) => write(name, bytes, 0o755),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

/** PATH with these directories first. */
export function pathWith(...directories: readonly string[]): string {
  return [...directories, process.env['PATH'] ?? ''].join(delimiter);
}

/** The beginning of a program for a machine (`e_machine`): enough to tell what it was built for. */
export function elfHeader(machine: number): Uint8Array {
  const header = Buffer.alloc(64);
  header.write('\x7fELF\x02\x01\x01', 'latin1');
  header.writeUInt16LE(2, 16);
  header.writeUInt16LE(machine, 18);
  return header;
}
