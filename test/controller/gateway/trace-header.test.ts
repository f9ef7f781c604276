import assert from 'node:assert/strict';
import { test } from 'node:test';
import { traceHeaderOf } from '../../../src/controller/gateway/trace-header.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const PARENT = 'b7ad6b7169203331';
const AMZN = `Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=${PARENT}`;

test('trace header: of either form, the standard one first', () => {
  for (const [traceparent, amzn, expected] of [
    [undefined, undefined, null],
    [undefined, 'Root=1-a', 'Root=1-a'],
    [undefined, 'x'.repeat(1025), null],
    [`00-${TRACE}-${PARENT}-01`, undefined, `${AMZN};Sampled=1`],
    [`00-${TRACE}-${PARENT}-02`, 'Root=1-a', `${AMZN};Sampled=0`],
    [`cc-${TRACE}-${PARENT}-01-what-will-be`, undefined, `${AMZN};Sampled=1`],
    [`00-${TRACE}-${PARENT}-01x`, 'Root=1-a', 'Root=1-a'],
    [`00-${TRACE.slice(1)}-${PARENT}-01`, undefined, null],
    [`00-${TRACE}-${PARENT}`, undefined, null],
  ] as const) {
    assert.equal(traceHeaderOf({ traceparent, 'x-amzn-trace-id': amzn }), expected, traceparent ?? amzn);
  }
});
