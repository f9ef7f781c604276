/**
 * Runs in the fake Firecracker. A snapshot's state file: everything but the memory.
 *
 * ```
 *   "FAKEFCVM" | u16 format version: major, minor, patch | u32 length | JSON | first 8 bytes of SHA-256 of all before
 * ```
 */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import type { Drive, MachineConfig, NetworkInterface } from './configuration.ts';
import type { MemoryDigests } from './guest-memory.ts';

const MAGIC = Buffer.from('FAKEFCVM');
const VERSION_AT = MAGIC.length;
const LENGTH_AT = VERSION_AT + 6;
const JSON_AT = LENGTH_AT + 4;
const CHECKSUM_BYTES = 8;

export interface SavedState {
  readonly vmmVersion: string;
  readonly machine: MachineConfig;
  /** Paths as they were given: relative ones stay relative. */
  readonly drives: readonly Drive[];
  readonly vsock: { readonly guestCid: number; readonly udsPath: string; readonly lastHostPort: number } | null;
  readonly networkInterfaces: readonly NetworkInterface[];
  readonly memory: MemoryDigests;
}

/** @param format such as "10.0.0". */
export function writeStateFile(path: string, format: string, state: SavedState): void {
  const json = Buffer.from(JSON.stringify(state));
  const head = Buffer.alloc(JSON_AT);
  MAGIC.copy(head);
  for (const [index, number] of format.split('.').entries()) head.writeUInt16BE(Number(number), VERSION_AT + 2 * index);
  head.writeUInt32BE(json.length, LENGTH_AT);
  writeFileSync(path, Buffer.concat([head, json, checksum(head, json)]));
}

/** @throws Error if the file is damaged, or of a format with another major number than `format`. */
export function readStateFile(path: string, format: string): SavedState {
  const bytes = readFileSync(path);
  const found = formatOf(bytes, path);
  if (found.split('.')[0] !== format.split('.')[0]) {
    throw new Error(`${path} has snapshot format ${found}; this version reads ${format}`);
  }
  const jsonEnd = JSON_AT + bytes.readUInt32BE(LENGTH_AT);
  const [head, json] = [bytes.subarray(0, JSON_AT), bytes.subarray(JSON_AT, jsonEnd)];
  if (bytes.length !== jsonEnd + CHECKSUM_BYTES || !bytes.subarray(jsonEnd).equals(checksum(head, json))) {
    throw new Error(`${path} is damaged: its checksum is wrong`);
  }
  return JSON.parse(json.toString('utf8')) as SavedState;
}

/** The format version of a state file, such as "10.0.0". @throws Error if the file is none. */
export function describeStateFile(path: string): string {
  return formatOf(readFileSync(path), path);
}

function formatOf(bytes: Buffer, path: string): string {
  if (bytes.length < JSON_AT || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw new Error(`${path} is no state file of a snapshot`);
  }
  return [0, 2, 4].map((offset) => bytes.readUInt16BE(VERSION_AT + offset)).join('.');
}

function checksum(head: Buffer, json: Buffer): Buffer {
  return createHash('sha256').update(head).update(json).digest().subarray(0, CHECKSUM_BYTES);
}
