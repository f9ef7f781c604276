/** Runs in snapctr. What a request is told that there is no VM for. */
import { SnapfaasError } from '../../protocol/errors.ts';
import type { FunctionVersion } from '../../registry/function-version.ts';
import type { KeepAlivePolicy } from './keep-alive.ts';
import type { Lack, Ledger } from './ledger.ts';

/** The host lacks something for another VM, and evicting idle ones would not help. */
export function noRoom<V>(
  { name, memoryMib }: FunctionVersion,
  lack: Lack,
  ledger: Ledger,
  policy: KeepAlivePolicy<V>,
): SnapfaasError {
  const onlyTap = { memoryMib: 0, tap: true };
  const allTaps = ledger.taps === 1 ? 'the only tap is' : `all ${ledger.taps} taps are`;
  const what =
    lack.tap && !policy.couldYield(onlyTap)
      ? `${name} needs a network, and ${allTaps} in use; send it again later, or add to \`network.taps\``
      : `${name} needs ${memoryMib} MB; ${ledger.freeMib} MB of ${ledger.totalMib} MB are free and ` +
        `${policy.evictableMib} MB idle${keptBeside(policy)}; send it again later, or give the controller more with --mem`;
  return new SnapfaasError('resource_exhausted', what);
}

/** Idle VMs that nobody else gets. */
function keptBeside<V>({ idleMib, evictableMib }: KeepAlivePolicy<V>): string {
  const keptMib = idleMib - evictableMib;
  return keptMib === 0 ? '' : `, beside ${keptMib} MB of provisioned concurrency`;
}

/** @param waitMs when one of them will be done, as far as that is known. */
export function tooManyAtOnce({ name, concurrencyLimit }: FunctionVersion, waitMs: number | null): SnapfaasError {
  const message = `${name} runs ${concurrencyLimit} requests already, its concurrency_limit`;
  return new SnapfaasError('resource_exhausted', message, {
    details: { limit: 'concurrency_limit' },
    retryAfterS: Math.max(1, Math.ceil((waitMs ?? 0) / 1000)),
  });
}
