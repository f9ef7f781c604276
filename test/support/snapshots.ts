/** What tests of snapshots look at: the files of a store, and what a controller logs of them. */
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Answer, RunningController } from './snapctr.ts';

export type LogRecord = Readonly<Record<string, unknown>> & { readonly msg?: string };

/** Lines of a controller's log whose message has these words; an empty text finds all. */
export function logged(controller: Pick<RunningController, 'log'>, words: string): LogRecord[] {
  return controller.log
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as LogRecord)
    .filter(({ msg }) => msg?.includes(words) === true);
}

/** The layer that a function's VMs are restored from, as the log names it. */
export function layerOf(controller: Pick<RunningController, 'log'>, fn: string): string {
  const ready = logged(controller, 'snapshot ready').filter((record) => record['function'] === fn);
  const layer = ready.at(-1)?.['layer'];
  if (typeof layer === 'string') return layer;
  throw new Error(`${fn} has no snapshot:\n${controller.log.join('\n')}`);
}

/** Names of the layers in a store. */
export function layersIn(store: string, kind: 'base' | 'function'): string[] {
  return namesIn(store).filter((name) => name.startsWith(`${kind}-`));
}

/** What stands in a store that is no layer, nor says who needs them: something unfinished, or a lock. */
export function unfinishedIn(store: string): string[] {
  return namesIn(store).filter((name) => name.startsWith('.') && !name.startsWith('.snapfaas-uses-'));
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch {
    return [];
  }
}

export const DAMAGES = ['flipped', 'cut', 'removed'] as const;

/** Changes a byte in the middle of a file, cuts its second half off, or removes it. */
export function damage(path: string, how: (typeof DAMAGES)[number]): void {
  if (how === 'removed') return rmSync(path);
  const bytes = readFileSync(path);
  const middle = bytes.length >> 1;
  if (how === 'cut') return truncateSync(path, middle);
  bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle);
  writeFileSync(path, bytes);
}

/** The file of a layer. */
export function fileOf(store: string, layer: string, file: string): string {
  return join(store, layer, file);
}

/** How the VM of an answer was started. */
export function startOf(answer: Answer): string | null {
  return answer.headers.get('x-snapfaas-start');
}
