import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AccessError, type AccessErrorName } from '../../src/auth/access-error.ts';
import type { Authenticator } from '../../src/auth/authenticator.ts';
import { openWhole } from '../../src/auth/body-opener.ts';
import { ChunkOpener } from '../../src/auth/sigv4/signed-chunks.ts';
import { signingKey } from '../../src/auth/sigv4/signature.ts';
import {
  VECTOR_EXPIRES_S,
  VECTOR_HOST,
  VECTOR_KEY,
  VECTOR_SCOPE,
  VECTOR_TIMESTAMP,
  VECTORS,
  type Vector,
} from './aws-vectors.ts';
import {
  authenticator,
  checkWhole,
  KEY,
  NOW,
  signatureOf,
  signed,
  signedChunks,
  type SignOptions,
  type TestRequest,
} from './requests.ts';

const INVOKE = '/2015-03-31/functions/hello/invocations';

const VECTOR_TIME = Date.UTC(2015, 7, 30, 12, 36);
const vectorServer = (now = VECTOR_TIME): Authenticator => authenticator([{ ...KEY, ...VECTOR_KEY }], { now });

/** Texts of the suite are UTF-8; `node:http` gives a character for each byte. */
const bytes = (text: string): string => Buffer.from(text).toString('latin1');

function vectorHeaders(vector: Vector): string[] {
  return vector.headers.flatMap((line) => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon), bytes(line.slice(colon + 1))];
  });
}

function withHeader(vector: Vector): TestRequest {
  const [method = '', target = ''] = splitOnce(vector.request);
  const { signedHeaders, signature } = vector;
  const credential = `${VECTOR_KEY.id}/${VECTOR_SCOPE}`;
  const authorization = `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${signedHeaders}, Signature=${signature}`;
  const fixed = ['Host', VECTOR_HOST, 'X-Amz-Date', VECTOR_TIMESTAMP];
  const rawHeaders = [...fixed, ...vectorHeaders(vector), 'Authorization', authorization];
  return { method, target: bytes(target), rawHeaders, body: Buffer.from(vector.body) };
}

function presigned(vector: Vector, expires = VECTOR_EXPIRES_S): TestRequest | null {
  if (vector.presigned === null) return null;
  const { signedHeaders, signature } = vector.presigned;
  const headers = vectorHeaders(vector);
  const ofAws = headers.findIndex((name, at) => at % 2 === 0 && /^x-amz-/i.test(name));
  const [name = '', value = ''] = ofAws === -1 ? [] : headers.splice(ofAws, 2);
  const [method = '', target = ''] = splitOnce(vector.request);
  const query = [
    'X-Amz-Algorithm=AWS4-HMAC-SHA256',
    `X-Amz-Credential=${encodeURIComponent(`${VECTOR_KEY.id}/${VECTOR_SCOPE}`)}`,
    `X-Amz-Date=${VECTOR_TIMESTAMP}`,
    `X-Amz-Expires=${expires}`,
    `X-Amz-SignedHeaders=${encodeURIComponent(signedHeaders)}`,
    ...(name === 'X-Amz-Security-Token' ? [`${name}=${encodeURIComponent(value)}`] : []),
    `X-Amz-Signature=${signature}`,
  ].join('&');
  const whole = `${bytes(target)}${target.includes('?') ? '&' : '?'}${query}`;
  return { method, target: whole, rawHeaders: ['Host', VECTOR_HOST, ...headers], body: Buffer.from(vector.body) };
}

function splitOnce(text: string): readonly string[] {
  const space = text.indexOf(' ');
  return [text.slice(0, space), text.slice(space + 1)];
}

function refused(name: AccessErrorName, message: RegExp, run: () => unknown): void {
  assert.throws(run, (error) => {
    assert.ok(error instanceof AccessError, String(error));
    assert.equal(error.reason, name);
    assert.match(error.message, message);
    return true;
  });
}

for (const vector of VECTORS) {
  test(`signatures of AWS's test suite: ${vector.name}`, () => {
    for (const request of [withHeader(vector), presigned(vector)]) {
      if (request === null) continue;
      assert.deepEqual(checkWhole(vectorServer(), request, 'service'), request.body);
      const other = { ...request, method: 'PUT' };
      refused('InvalidSignatureException', /does not match the signature/, () =>
        checkWhole(vectorServer(), other, 'service'),
      );
    }
  });
}

test('signatures: bodies in signed chunks, by the examples of AWS', () => {
  // docs.aws.amazon.com, AmazonS3/latest/API: sigv4-streaming.html and sigv4-streaming-trailers.html.
  const data = Buffer.alloc(66_560, 'a');
  const scope = { day: '20130524', region: 'us-east-1', service: 's3' };
  const body = (signatures: readonly string[], rest: string): Buffer =>
    Buffer.concat([
      Buffer.from(`10000;chunk-signature=${signatures[0] ?? ''}\r\n`),
      data.subarray(0, 65_536),
      Buffer.from(`\r\n400;chunk-signature=${signatures[1] ?? ''}\r\n`),
      data.subarray(65_536),
      Buffer.from(`\r\n0;chunk-signature=${signatures[2] ?? ''}\r\n${rest}\r\n`),
    ]);
  const seed = {
    key: signingKey('wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY', scope),
    timestamp: '20130524T000000Z',
    scope: '20130524/us-east-1/s3/aws4_request',
    signature: '4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9',
    hasTrailer: false,
  };
  const plain = body(
    [
      'ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648',
      '0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497',
      'b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9',
    ],
    '',
  );
  assert.deepEqual(openWhole(new ChunkOpener(seed), plain), data);
  const trailing = body(
    [
      'b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2',
      '1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7',
      '2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992',
    ],
    'x-amz-checksum-crc32c:sOO8/Q==\r\n' +
      'x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n',
  );
  const trailingSeed = {
    ...seed,
    signature: '106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e',
    hasTrailer: true,
  };
  assert.deepEqual(openWhole(new ChunkOpener(trailingSeed), trailing), data);
});

test('signatures: presigned requests hold as long as they say, and clocks may be five minutes apart', () => {
  const vector = VECTORS.find(({ name }) => name === 'get-vanilla');
  assert.ok(vector !== undefined);
  const link = presigned(vector);
  assert.ok(link !== null);
  const minute = 60_000;
  for (const at of [-5 * minute, 0, 6 * minute, VECTOR_EXPIRES_S * 1000]) {
    checkWhole(vectorServer(VECTOR_TIME + at), link, 'service');
  }
  refused(
    'InvalidSignatureException',
    /^Signature expired: 20150830T133600Z is now earlier than 20150830T133601Z/,
    () => checkWhole(vectorServer(VECTOR_TIME + VECTOR_EXPIRES_S * 1000 + 1000), link, 'service'),
  );
  refused('InvalidSignatureException', /^Signature not yet current: 20150830T123600Z is still later/, () =>
    checkWhole(vectorServer(VECTOR_TIME - 5 * minute - 1000), link, 'service'),
  );
  const longer = presigned(vector, VECTOR_EXPIRES_S + 1);
  assert.ok(longer !== null);
  refused('InvalidSignatureException', /does not match/, () => checkWhole(vectorServer(), longer, 'service'));
  const request = withHeader(vector);
  for (const at of [-5 * minute, 5 * minute]) checkWhole(vectorServer(VECTOR_TIME + at), request, 'service');
  refused('InvalidSignatureException', /^Signature expired: .* \(20150830T124101Z - 5 min\.\)/, () =>
    checkWhole(vectorServer(VECTOR_TIME + 5 * minute + 1000), request, 'service'),
  );
  refused('InvalidSignatureException', /^Signature not yet current/, () =>
    checkWhole(vectorServer(VECTOR_TIME - 5 * minute - 1000), request, 'service'),
  );
});

test('signatures: a request may come again while its time holds, as with AWS', () => {
  const server = authenticator([KEY]);
  const request = signed('POST', INVOKE, '{"a":1}');
  for (let i = 0; i < 3; i += 1) assert.deepEqual(checkWhole(server, request), request.body);
});

const CONTENT: readonly (readonly [title: string, options: SignOptions])[] = [
  ['a hash of the body in a header', {}],
  ['none, as boto3 does over HTTP', { contentHash: null }],
  ['UNSIGNED-PAYLOAD', { contentHash: 'UNSIGNED-PAYLOAD' }],
];
for (const [title, options] of CONTENT) {
  test(`signatures: the body, with ${title}`, () => {
    const server = authenticator([KEY]);
    const request = signed('POST', INVOKE, '{"a":1}', options);
    const caller = server.authenticate(request, request.target);
    assert.equal(caller.isProven, options.contentHash !== null);
    assert.equal(openWhole(caller.bodyOpener(), request.body), request.body);
    const other = Buffer.from('{"a":2}');
    if (options.contentHash === 'UNSIGNED-PAYLOAD') assert.equal(openWhole(caller.bodyOpener(), other), other);
    else refused('InvalidSignatureException', /./, () => openWhole(caller.bodyOpener(), other));
  });
}

const CHUNKS = { 'x-amz-decoded-content-length': '20000', 'content-encoding': 'aws-chunked' };
for (const [mode, trailer] of [
  ['STREAMING-AWS4-HMAC-SHA256-PAYLOAD', undefined],
  ['STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER', 'x-amz-checksum-crc32c:AAAAAA=='],
] as const) {
  test(`signatures: a body in chunks is put together, and none can be changed, left out or moved (${mode})`, () => {
    const data = Buffer.from('x'.repeat(10_000) + 'y'.repeat(10_000));
    const server = authenticator([KEY]);
    const head = signed('POST', INVOKE, '', { contentHash: mode, headers: CHUNKS });
    const body = signedChunks(data, signatureOf(head), trailer === undefined ? {} : { trailer });
    const open = (changed: Buffer): Buffer => checkWhole(server, { ...head, body: changed });
    assert.deepEqual(open(body), data);
    const line = body.indexOf('\r\n') + 2;
    const chunk = line + 8192 + 2;
    const changes: readonly (readonly [RegExp, Buffer])[] = [
      [/signature of a chunk/, Buffer.concat([body.subarray(0, line), Buffer.from('X'), body.subarray(line + 1)])],
      [/signature of a chunk/, body.subarray(chunk)],
      [/signature of a chunk/, Buffer.concat([body.subarray(0, chunk), body])],
      [/begin with its size/, body.subarray(0, chunk)],
      [/ends within a chunk/, body.subarray(0, chunk - 10)],
      [/longer than it says/, Buffer.from(body.toString('latin1').replace('\r\n2000;', 'zz2000;'), 'latin1')],
      [/./, Buffer.concat([body, Buffer.from('more')])],
      [/./, body.subarray(0, -2)],
      [/begin with its size/, data],
      [/begin with its size/, Buffer.alloc(0)],
    ];
    for (const [message, changed] of changes) refused('InvalidSignatureException', message, () => open(changed));
    if (trailer !== undefined) {
      const swapped = Buffer.from(body.toString('latin1').replace('AAAAAA==', 'BBBBBB=='), 'latin1');
      refused('InvalidSignatureException', /signature of its trailer/, () => open(swapped));
    }
    const short = signed('POST', INVOKE, '', {
      contentHash: mode,
      headers: { ...CHUNKS, 'x-amz-decoded-content-length': '19999' },
    });
    const whole = signedChunks(data, signatureOf(short), trailer === undefined ? {} : { trailer });
    refused('InvalidSignatureException', /says 19999/, () => checkWhole(server, { ...short, body: whole }));
  });
}

test('signatures: chunks are as large as AWS asks, so that checking them costs no more than the body', () => {
  const server = authenticator([KEY]);
  const head = signed('POST', INVOKE, '', { contentHash: 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD' });
  const small = signedChunks(Buffer.alloc(100), signatureOf(head));
  const twice = Buffer.concat([small.subarray(0, small.lastIndexOf('0;chunk')), small]);
  refused('InvalidSignatureException', /only the last chunk may have less than 8192/, () =>
    checkWhole(server, { ...head, body: twice }),
  );
});

const HEADERS: readonly (readonly [title: string, AccessErrorName, RegExp, readonly string[]])[] = [
  ['nothing', 'MissingAuthenticationTokenException', /^Missing Authentication Token$/, []],
  [
    'another scheme',
    'IncompleteSignatureException',
    /must be AWS4-HMAC-SHA256, not 'Basic'/,
    ['authorization', 'Basic YTpi'],
  ],
  ['an empty header', 'IncompleteSignatureException', /must be AWS4-HMAC-SHA256, not ''/, ['authorization', '']],
  ['the algorithm alone', 'IncompleteSignatureException', /part ''/, ['authorization', 'AWS4-HMAC-SHA256 ']],
  [
    'elliptic curves',
    'IncompleteSignatureException',
    /not 'AWS4-ECDSA-P256-SHA256'/,
    ['authorization', 'AWS4-ECDSA-P256-SHA256 Credential=a'],
  ],
  [
    'half of it',
    'IncompleteSignatureException',
    /requires 'SignedHeaders' parameter.*requires 'Signature' parameter.*'X-Amz-Date' or a 'Date'/,
    ['authorization', 'AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request'],
  ],
  [
    'a part twice',
    'IncompleteSignatureException',
    /part 'Credential'/,
    ['authorization', 'AWS4-HMAC-SHA256 Credential=a, Credential=b, SignedHeaders=host, Signature=c'],
  ],
  ['the header twice', 'IncompleteSignatureException', /more than once/, ['authorization', 'a', 'Authorization', 'b']],
  [
    'a token that is none',
    'UnrecognizedClientException',
    /none of the keys/,
    ['authorization', `Bearer ${KEY.id}.${KEY.secret}x`],
  ],
  [
    'a token without an id',
    'UnrecognizedClientException',
    /none of the keys/,
    ['authorization', `Bearer ${KEY.secret}`],
  ],
  ['an empty token', 'UnrecognizedClientException', /none of the keys/, ['authorization', 'Bearer .']],
];
for (const [title, name, message, rawHeaders] of HEADERS) {
  test(`callers: ${title} is refused`, () => {
    const server = authenticator([KEY]);
    refused(name, message, () => server.authenticate({ method: 'GET', rawHeaders: ['host', 'a', ...rawHeaders] }, '/'));
  });
}

test('callers: the secret of a key is a bearer token as well', () => {
  const other = {
    ...KEY,
    id: 'SFAKBBBBBBBBBBBBBBBB',
    name: 'other',
    secret: 'another-secret-of-enough-characters-here',
  };
  const server = authenticator([KEY, other]);
  for (const scheme of ['Bearer', 'bearer', 'BEARER  ']) {
    const rawHeaders = ['Authorization', `${scheme} ${other.id}.${other.secret}`];
    const caller = server.authenticate({ method: 'GET', rawHeaders }, '/');
    assert.deepEqual(caller.key, { id: other.id, name: 'other' });
    assert.equal(caller.isProven, true);
  }
  const mixed = ['Authorization', `Bearer ${KEY.id}.${other.secret}`];
  refused('UnrecognizedClientException', /none/, () => server.authenticate({ method: 'GET', rawHeaders: mixed }, '/'));
});

const CLAIMS: readonly (readonly [title: string, AccessErrorName, RegExp, SignOptions])[] = [
  [
    'an unknown key',
    'UnrecognizedClientException',
    /security token .* is invalid/,
    { key: { id: 'AKIANOBODY', secret: KEY.secret } },
  ],
  [
    'a wrong secret',
    'InvalidSignatureException',
    /does not match the signature you provided/,
    { key: { id: KEY.id, secret: 'x' } },
  ],
  [
    'another region',
    'InvalidSignatureException',
    /valid region: 'us-east-1', not 'eu-west-1'/,
    { region: 'eu-west-1' },
  ],
  ['another service', 'InvalidSignatureException', /correct service: 'lambda'/, { service: 's3' }],
  ['an old time', 'InvalidSignatureException', /^Signature expired/, { at: NOW - 301_000 }],
  ['a time to come', 'InvalidSignatureException', /^Signature not yet current/, { at: NOW + 301_000 }],
  [
    'a hash that is none',
    'InvalidSignatureException',
    /must be a SHA-256 in hex/,
    { contentHash: 'STREAMING-UNSIGNED-PAYLOAD-TRAILER' },
  ],
  [
    'a hash of another body',
    'InvalidSignatureException',
    /not the one that x-amz-content-sha256/,
    { contentHash: 'a'.repeat(64) },
  ],
];
for (const [title, name, message, options] of CLAIMS) {
  test(`signatures: ${title} is refused`, () => {
    const server = authenticator([KEY]);
    refused(name, message, () => checkWhole(server, signed('POST', INVOKE, '{}', options)));
  });
}

test('signatures: headers of AWS that are not signed are refused, but for the token of temporary credentials', () => {
  const server = authenticator([KEY]);
  const request = signed('POST', INVOKE, '{}');
  const added = (name: string): TestRequest => ({ ...request, rawHeaders: [...request.rawHeaders, name, 'Event'] });
  refused('InvalidSignatureException', /not signed: x-amz-invocation-type/, () =>
    checkWhole(server, added('X-Amz-Invocation-Type')),
  );
  checkWhole(server, added('x-amz-security-token'));
  checkWhole(server, added('user-agent'));
  refused('IncompleteSignatureException', /more than once|is there/, () => checkWhole(server, added('x-amz-date')));
});

test('signatures: a byte that is changed anywhere in what was signed is found', () => {
  const server = authenticator([KEY]);
  const target = `${INVOKE}?Qualifier=prod`;
  const changedAt = (text: string, at: number, to: number): string => {
    const index = at % text.length;
    return text.slice(0, index) + String.fromCharCode(to) + text.slice(index + 1);
  };
  fc.assert(
    fc.property(
      fc.constantFrom('method', 'target', 'body', 'value'),
      fc.nat(),
      fc.nat(),
      // Neither blanks, which are made one, nor what stands for another spelling of the same.
      fc.integer({ min: 0x21, max: 0xff }),
      fc.constantFrom(undefined, null),
      (part, which, at, to, contentHash) => {
        const options = contentHash === undefined ? {} : { contentHash };
        const request = signed('POST', target, '{"a":1}', options);
        const values = request.rawHeaders.map((text, index) =>
          index % 2 === 1 && part === 'value' && index === 1 + 2 * (which % (request.rawHeaders.length / 2))
            ? changedAt(text, at, to)
            : text,
        );
        const changed: TestRequest = {
          method: part === 'method' ? changedAt(request.method, at, to) : request.method,
          target: part === 'target' ? changedAt(target, at, to) : target,
          rawHeaders: values,
          body: part === 'body' ? Buffer.from(changedAt('{"a":1}', at, to), 'latin1') : request.body,
        };
        const isSame = JSON.stringify(changed) === JSON.stringify(request);
        fc.pre(!isSame);
        assert.throws(() => checkWhole(server, changed), AccessError);
      },
    ),
    { numRuns: 3000 },
  );
});

test('signatures: without keys everybody may do everything', () => {
  const caller = authenticator(null).authenticate({ method: 'POST', rawHeaders: [] }, '/');
  assert.equal(caller.key, null);
  caller.authorize('snapfaas:ReadStatus');
  assert.equal(caller.isProven, true);
});
