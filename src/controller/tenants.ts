/** Runs in snapctr. Tenants: who a request is for, where a function keeps those apart. */
import { SnapfaasError } from '../protocol/errors.ts';
import type { FunctionVersion } from '../registry/function-version.ts';
import type { Invocation } from './task.ts';

/** Null: it names none. */
export function tenantOf({ lambda }: Invocation): string | null {
  return lambda?.header.tenant_id ?? null;
}

/**
 * @param tenant null: the request names none.
 * @throws SnapfaasError `bad_request`, with `tenant` among its details: it must name one, or must not.
 */
export function checkTenant({ isolatesTenants = false }: FunctionVersion, tenant: string | null): void {
  if (isolatesTenants === (tenant !== null)) return;
  const message = isolatesTenants
    ? 'The invoked function is enabled with tenancy configuration. Add a valid tenant ID in your request (X-Amz-Tenant-Id) and try again.'
    : 'The invoked function is not enabled with tenancy configuration. Remove the tenant ID from your request and try again.';
  throw new SnapfaasError('bad_request', message, { details: { tenant } });
}
