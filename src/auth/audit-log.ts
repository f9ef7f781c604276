/**
 * Runs in snapctr. Who changed what: a JSON line for each change, of keys today.
 *
 * ```json
 * {"time": "2026-…Z", "action": "keys.add", "by": "root (uid 0)", "key": {"id": "SFAK…", "name": "ci", …}, "file": "…/keys.json"}
 * ```
 *
 * The file is opened for each line: changes are rare, and it may be moved away at any time without telling anybody.
 */
import { closeSync, constants, fstatSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { messageOf } from '../protocol/errors.ts';

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
      append(this.#path, `${JSON.stringify({ time: new Date().toISOString(), ...line })}\n`);
    } catch (error) {
      this.#otherwise({ ...line, auditProblem: `${this.#path} cannot be written: ${messageOf(error)}` });
    }
  }
}

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_WRONLY } = constants;

function append(path: string, line: string): void {
  const file = openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  try {
    if (!fstatSync(file).isFile()) throw new Error('it is no regular file');
    // One write: lines of several processes do not mix.
    writeSync(file, line);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
