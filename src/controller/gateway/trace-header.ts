/** Runs in snapctr. The trace that a request's caller is in, as functions and events carry it. */
import type { IncomingHttpHeaders } from 'node:http';

/** A longer header is none. */
const MAX_CHARACTERS = 1024;
/** https://www.w3.org/TR/trace-context/: version, trace, parent, flags; later versions may have more behind it. */
const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{8})([0-9a-f]{24})-([0-9a-f]{16})-([0-9a-f]{2})(?:-|$)/;
const SAMPLED = 1;

/** @returns in the form of `X-Amzn-Trace-Id`, also of a caller that told it by `traceparent`; null: it told none. */
export function traceHeaderOf({ traceparent, 'x-amzn-trace-id': amzn }: IncomingHttpHeaders): string | null {
  const [, time, rest, parent, flags] = (typeof traceparent === 'string' && TRACEPARENT.exec(traceparent)) || [];
  if (time !== undefined && rest !== undefined && parent !== undefined && flags !== undefined) {
    const sampled = (Number.parseInt(flags, 16) & SAMPLED) === 0 ? 0 : 1;
    return `Root=1-${time}-${rest};Parent=${parent};Sampled=${sampled}`;
  }
  return typeof amzn === 'string' && amzn.length <= MAX_CHARACTERS ? amzn : null;
}
