/**
 * Runs in the fake Firecracker. The words in which it refuses: each begins with what of the machine they are about, and an error
 * of the operating system is put as Rust puts it. Source: Firecracker, `VmmActionError` in src/vmm/src/rpc_interface.rs, and the
 * errors that it wraps.
 */
import { getSystemErrorMap } from 'node:util';

const PREFIXES: Readonly<Record<string, string>> = {
  'PUT /boot-source': 'Boot source error: ',
  'PUT /machine-config': 'Machine config error: ',
  'PATCH /machine-config': 'Machine config error: ',
  'PUT /drives': 'Drive config error: ',
  'PATCH /drives': 'Drive config error: ',
  'PUT /network-interfaces': 'Network config error: ',
  'PUT /vsock': 'Vsock config error: ',
  'PUT /entropy': 'Entropy config error: ',
  'PUT /metrics': 'Metrics error: ',
  'PUT /logger': 'Logger error: ',
  'PUT /actions InstanceStart': 'Start microvm error: ',
  'PATCH /vm': 'Internal VMM error: ',
  'PUT /snapshot/create': 'Create snapshot error: ',
  'PUT /snapshot/load': 'Load snapshot error: ',
};

/** @param name as in `request-order.ts`. */
export function faultMessage(name: string, error: unknown): string {
  return `${PREFIXES[name] ?? ''}${wordsOf(error)}`;
}

function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { errno, path } = error as NodeJS.ErrnoException;
  const text = errno === undefined ? undefined : getSystemErrorMap().get(errno)?.[1];
  if (errno === undefined || text === undefined) return error.message;
  const reason = `${text.charAt(0).toUpperCase()}${text.slice(1)} (os error ${-errno})`;
  return path === undefined ? reason : `${reason} ${path}`;
}
