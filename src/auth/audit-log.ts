/**
 * Runs in snapctr. Who changed what: a JSON line for each change of keys, functions, layers and schedules, and of events that failed for good.
 *
 * ```json
 * {"time": "2026-…Z", "action": "keys.add", "by": "root (uid 0)", "key": {"id": "SFAK…", "name": "ci", …}, "file": "…/keys.json"}
 * ```
 *
 * The file is opened for each line: changes are rare, and it may be moved away at any time without telling anybody.
 */
import { closeSync, constants, fstatSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { messageOf } from '../protocol/errors.ts';
import type { Caller } from './caller.ts';

export interface AuditLine {
  readonly action: string;
  /** A user of the host, the name of a key, or snapctr for what it saw. */
  readonly by: string;
  /** What was changed; never a secret. */
  readonly [field: string]: unknown;
}

export class AuditLog {
  readonly #path: string | null;
  readonly #otherwise: (line: AuditLine) => void;

  /**
   * @param path null: `otherwise` gets the lines.
   * @param otherwise gets also what cannot be written, with the field `auditProblem`.
   */
  constructor(path: string | null, otherwise: (line: AuditLine) => void) {
    this.#path = path;
    this.#otherwise = otherwise;
  }

  /** Returns when the line is on disk. */
  write(line: AuditLine): void {
    if (this.#path === null) return this.#otherwise(line);
    try {
      append(this.#path, textOf(line));
    } catch (error) {
      this.#unwritten(this.#path, line, error);
    }
  }

  /** Resolves when the line is on disk: requests bring these, and must not hold up others. */
  async add(line: AuditLine): Promise<void> {
    if (this.#path === null) return this.#otherwise(line);
    try {
      await appendLater(this.#path, textOf(line));
    } catch (error) {
      this.#unwritten(this.#path, line, error);
    }
  }

  #unwritten(path: string, line: AuditLine, error: unknown): void {
    this.#otherwise({ ...line, auditProblem: `${path} cannot be written: ${messageOf(error)}` });
  }
}

/** Who asked for a change. */
export function callerOf({ key }: Pick<Caller, 'key'>): { readonly by: string; readonly key?: Caller['key'] } {
  return { by: key?.name ?? 'anybody', ...(key === null ? {} : { key }) };
}

function textOf(line: AuditLine): string {
  return `${JSON.stringify({ time: new Date().toISOString(), ...line })}\n`;
}

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_WRONLY } = constants;
const FLAGS = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK;
const MODE = 0o600;
const NO_FILE = 'it is no regular file';

function append(path: string, line: string): void {
  const file = openSync(path, FLAGS, MODE);
  try {
    if (!fstatSync(file).isFile()) throw new Error(NO_FILE);
    // One write: lines of several processes do not mix.
    writeSync(file, line);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

async function appendLater(path: string, line: string): Promise<void> {
  const file = await open(path, FLAGS, MODE);
  try {
    if (!(await file.stat()).isFile()) throw new Error(NO_FILE);
    // As above.
    await file.write(line);
    await file.sync();
  } finally {
    await file.close();
  }
}
