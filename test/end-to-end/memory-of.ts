/** Memory of a process of this host. */
import { readFileSync, writeFileSync } from 'node:fs';

/** Bytes of physical memory that a process has now. */
export function residentBytes(pid: number): number {
  return bytesOf(pid, 'VmRSS');
}

/** The most that it had since its start, or since `forgetPeak`. */
export function peakBytes(pid: number): number {
  return bytesOf(pid, 'VmHWM');
}

/** The peak is what it has now. Source: proc(5), clear_refs. */
export function forgetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

function bytesOf(pid: number, name: 'VmRSS' | 'VmHWM'): number {
  const kib = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  if (kib === undefined) throw new Error(`process ${pid} has no memory`);
  return Number(kib) * 1024;
}
