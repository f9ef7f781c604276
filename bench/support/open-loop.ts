/** Requests at a rate, whatever becomes of them: a client that waits for answers would hide that they come late. */
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Calls `send` at `rate` calls a second until the signal aborts or `ms` have passed; late calls are made up for. Resolves when
 * all that was sent is over.
 *
 * @param send never rejects.
 */
export async function openLoop(
  rate: number,
  { ms, signal }: { readonly ms: number; readonly signal?: AbortSignal },
  send: (index: number) => Promise<void>,
): Promise<void> {
  const began = performance.now();
  const open = new Set<Promise<void>>();
  for (let sent = 0; signal?.aborted !== true;) {
    const elapsed = performance.now() - began;
    if (elapsed >= ms) break;
    for (const due = Math.floor((elapsed / 1000) * rate) + 1; sent < due; sent += 1) {
      const call = send(sent).finally(() => open.delete(call));
      open.add(call);
    }
    await sleep(Math.max(1, (sent / rate) * 1000 - (performance.now() - began)));
  }
  await Promise.all(open);
}
