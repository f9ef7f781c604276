/** Runs in snapctr. The operation GetAccountSettings. */
import { MAX_UNPACKED_BYTES } from '../../../../packages/entries.ts';
import type { Call } from './call.ts';
import type { Json } from './render.ts';
import { MAX_ZIP_BYTES } from './zip-body.ts';

/** What there is room for, and what is taken of it. */
export function accountSettings({ plane, maxConcurrency }: Call): Json {
  const { functionCount, codeBytes, reservedConcurrency } = plane.functions.usage();
  const { packages } = plane;
  return {
    AccountLimit: {
      TotalCodeSize: packages.quotaBytes,
      CodeSizeUnzipped: MAX_UNPACKED_BYTES,
      CodeSizeZipped: MAX_ZIP_BYTES,
      ConcurrentExecutions: maxConcurrency,
      UnreservedConcurrentExecutions: Math.max(0, maxConcurrency - reservedConcurrency),
    },
    AccountUsage: { TotalCodeSize: codeBytes, FunctionCount: functionCount },
  };
}
