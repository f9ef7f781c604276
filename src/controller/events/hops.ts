/**
 * Runs in snapctr. How many destinations led to an event, one after the other. Endpoints are told as well: one may be this product's own,
 * and a circle ends there too.
 */
import type { IncomingHttpHeaders } from 'node:http';

/** A destination whose destination leads on is followed so far, as on AWS. */
export const MAX_HOPS = 16;
export const HOPS_HEADER = 'x-snapfaas-destination-hops';

/** @returns 0 to `MAX_HOPS`: a caller can make its own way shorter, and nobody's longer. */
export function hopsOf({ [HOPS_HEADER]: value }: IncomingHttpHeaders): number {
  return typeof value === 'string' && /^\d+$/.test(value) ? Math.min(Number(value), MAX_HOPS) : 0;
}
