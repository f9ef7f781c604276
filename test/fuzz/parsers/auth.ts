/** What a client says of who it is: signed requests, tokens, and bodies in signed chunks. */
import assert from 'node:assert/strict';
import { AccessError } from '../../../src/auth/access-error.ts';
import {
  KEY,
  authenticator,
  checkWhole,
  signatureOf,
  signed,
  signedChunks,
  type TestRequest,
} from '../../auth/requests.ts';
import { chunksOf, outcomeOf } from '../properties.ts';
import type { ParserTarget } from '../target.ts';

const SERVER = authenticator([KEY]);
const TARGET = '/2015-03-31/functions/hello/invocations';
const HEAD = signed('POST', TARGET, '', { contentHash: 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD' });

function asText({ method, target, rawHeaders, body }: TestRequest): Buffer {
  return Buffer.from([method, target, ...rawHeaders, body.toString('latin1')].join('\0'), 'latin1');
}

function asRequest(input: Buffer): TestRequest {
  const [method = '', target = '', ...rest] = input.toString('latin1').split('\0');
  const body = Buffer.from(rest.pop() ?? '', 'latin1');
  return { method, target, rawHeaders: rest, body };
}

/** What a signature is of: two requests that are the same by this may have the same one. */
function meaning({ method, target, rawHeaders, body }: TestRequest): unknown {
  const [path = '', query = ''] = target.split(/\?(.*)/s);
  const [segments, isDirectory] = [path.split('/').filter((part) => part !== '' && part !== '.'), path.endsWith('/')];
  const parameters = [...new URLSearchParams(query)].sort();
  const headers = rawHeaders.flatMap((name, at) =>
    at % 2 === 0 && ['host', 'x-amz-date', 'content-length', 'x-amz-content-sha256'].includes(name.toLowerCase())
      ? [[name.toLowerCase(), (rawHeaders[at + 1] ?? '').trim().replace(/\s+/g, ' ')]]
      : [],
  );
  return { method, segments, isDirectory, parameters, headers: headers.sort(), body: body.toString('latin1') };
}

const SIGNED = signed('POST', `${TARGET}?Qualifier=%24LATEST`, '{"a":1}');

const SIGNED_REQUEST: ParserTarget = {
  name: 'signed-request',
  tokens: [
    '\0',
    'AWS4-HMAC-SHA256 ',
    'Credential=',
    'SignedHeaders=',
    'Signature=',
    ', ',
    ';',
    '/',
    'Bearer ',
    `${KEY.id}.`,
    'UNSIGNED-PAYLOAD',
    'X-Amz-Signature=',
    '?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=',
    '%24',
    '&',
    'aws4_request',
    'authorization',
  ],
  generate: () => asText(SIGNED),
  check(input, { isValid }) {
    const request = asRequest(input);
    const outcome = outcomeOf([AccessError], () => checkWhole(SERVER, request));
    if (isValid) assert.ok('value' in outcome);
    // Nobody can make a signature for anything else, nor the token.
    if ('value' in outcome) assert.deepEqual(meaning(request), meaning(SIGNED));
    else assert.ok(!outcome.error.message.includes(KEY.secret));
  },
};

const CHUNKED = signedChunks(Buffer.from('x'.repeat(8192) + '{"a":1}'), signatureOf(HEAD));

const SIGNED_CHUNKS: ParserTarget = {
  name: 'signed-chunks',
  tokens: ['\r\n', ';chunk-signature=', '0', '2000', 'ffffffff', 'x-amz-trailer-signature:'],
  generate: () => CHUNKED,
  check(input, { isValid, random }) {
    const outcome = outcomeOf([AccessError], () => checkWhole(SERVER, { ...HEAD, body: input }));
    if (isValid) assert.ok('value' in outcome);
    const inPieces = outcomeOf([AccessError], () => checkInPieces(chunksOf(input, random)));
    assert.equal('value' in inPieces, 'value' in outcome);
    if ('value' in outcome && 'value' in inPieces) assert.deepEqual(inPieces.value, outcome.value);
    if ('value' in outcome) assert.equal(outcome.value.toString(), 'x'.repeat(8192) + '{"a":1}');
  },
};

function checkInPieces(pieces: readonly Buffer[]): Buffer {
  const opener = SERVER.authenticate(HEAD, HEAD.target).bodyOpener();
  const opened = pieces.flatMap((piece) => opener.push(piece));
  opener.end();
  return Buffer.concat(opened);
}

export const AUTH_TARGETS: readonly ParserTarget[] = [SIGNED_REQUEST, SIGNED_CHUNKS];
