/**
 * Runs in snapctr. A request over HTTP as the event of a function: AWS's payload format 2.0, as its documentation of function URLs
 * has it.
 */
import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import type { Caller } from '../../../auth/caller.ts';
import { PARTITION, type LambdaAccount } from '../../../protocol/arn.ts';
import type { FunctionUrl } from '../../../registry/function-registry.ts';
import { domainNameOf, type UrlAddress } from './address.ts';
import { isHopByHop, listedNames } from './headers.ts';

/** Types of bodies that are text: the event has them as they are. All others are in base64. */
const TEXT_TYPE = /^\s*(?:text\/|application\/(?:json|javascript|xml)\s*(?:;|$)|[^;]*\+(?:json|xml)\s*(?:;|$))/i;
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

export interface EventFacts {
  readonly url: FunctionUrl;
  readonly address: Pick<UrlAddress, 'rawPath' | 'rawQuery'>;
  readonly account: LambdaAccount;
  /** Of a URL that wants signatures; null: anybody. */
  readonly caller: Caller | null;
  readonly requestId: string;
  /** ms since the epoch. */
  readonly now: number;
}

export function urlEvent(incoming: IncomingMessage, body: Buffer, facts: EventFacts): Buffer {
  const { url, address, account, caller, requestId, now } = facts;
  const { rawPath, rawQuery } = address;
  const { headers, cookies } = readHeaders(incoming, body, caller !== null);
  const isText = isTextBody(headers, body);
  const event = {
    version: '2.0',
    routeKey: '$default',
    rawPath,
    rawQueryString: rawQuery,
    ...(cookies.length === 0 ? {} : { cookies }),
    headers: Object.fromEntries(headers),
    ...(rawQuery === '' ? {} : { queryStringParameters: readQuery(rawQuery) }),
    requestContext: {
      accountId: caller === null ? 'anonymous' : account.accountId,
      apiId: url.id,
      ...(caller === null ? {} : { authentication: null, authorizer: { iam: identityOf(caller, account) } }),
      domainName: domainNameOf(url.id, account.region),
      domainPrefix: url.id,
      http: {
        method: incoming.method ?? '',
        path: rawPath,
        protocol: `HTTP/${incoming.httpVersion}`,
        sourceIp: sourceIp(incoming),
        userAgent: headers.get('user-agent') ?? '',
      },
      requestId,
      routeKey: '$default',
      stage: '$default',
      time: logTime(now),
      timeEpoch: now,
    },
    ...(body.length === 0 ? {} : { body: body.toString(isText ? 'utf8' : 'base64') }),
    isBase64Encoded: body.length > 0 && !isText,
  };
  return Buffer.from(JSON.stringify(event));
}

/** By their names in lower case, several of one name joined by commas. Cookies are told apart from them. */
function readHeaders(
  incoming: IncomingMessage,
  body: Buffer,
  isSigned: boolean,
): { readonly headers: ReadonlyMap<string, string>; readonly cookies: readonly string[] } {
  const { rawHeaders } = incoming;
  const listed = listedNames(incoming.headers.connection ?? '');
  const headers = new Map<string, string>();
  const cookies: string[] = [];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const name = (rawHeaders[at] ?? '').toLowerCase();
    const value = rawHeaders[at + 1] ?? '';
    if (isKeptFromFunction(name, listed, isSigned)) continue;
    if (name === 'cookie') cookies.push(...value.split(';').map((one) => one.trim()));
    else {
      const before = headers.get(name);
      headers.set(name, before === undefined ? value : `${before},${value}`);
    }
  }
  // A body that came in chunks has its length by now, and is in chunks no more.
  if (incoming.headers['transfer-encoding'] !== undefined) headers.set('content-length', String(body.length));
  const forwarded = headers.get('x-forwarded-for');
  const from = sourceIp(incoming);
  headers.set('x-forwarded-for', forwarded === undefined ? from : `${forwarded}, ${from}`);
  headers.set('x-forwarded-proto', 'encrypted' in incoming.socket ? 'https' : 'http');
  headers.set('x-forwarded-port', String(incoming.socket.localPort ?? 0));
  return { headers, cookies: cookies.filter((one) => one !== '') };
}

/** What is between client and gateway; where that looks at credentials, they are its own: a bearer token is a secret. */
function isKeptFromFunction(name: string, listed: ReadonlySet<string>, isSigned: boolean): boolean {
  return isHopByHop(name, listed) || name === 'expect' || (isSigned && name === 'authorization');
}

function isTextBody(headers: ReadonlyMap<string, string>, body: Buffer): boolean {
  const encoding = headers.get('content-encoding') ?? 'identity';
  return encoding === 'identity' && TEXT_TYPE.test(headers.get('content-type') ?? '') && isUtf8(body);
}

function readQuery(rawQuery: string): Readonly<Record<string, string>> {
  const read = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(rawQuery)) {
    const before = read.get(name);
    read.set(name, before === undefined ? value : `${before},${value}`);
  }
  return Object.fromEntries(read);
}

/** A key is to functions what a user is to IAM; where there are no keys, whoever signs is the account. */
function identityOf({ key }: Caller, { accountId }: LambdaAccount): Readonly<Record<string, unknown>> {
  const who = key === null ? 'root' : `user/${key.name}`;
  const id = key?.id ?? accountId;
  return {
    accessKey: id,
    accountId,
    callerId: id,
    cognitoIdentity: null,
    principalOrgId: null,
    userArn: `arn:${PARTITION}:iam::${accountId}:${who}`,
    userId: id,
  };
}

function sourceIp({ socket }: IncomingMessage): string {
  return (socket.remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/, '');
}

/** As in the logs of web servers: `12/Mar/2020:19:03:58 +0000`. */
function logTime(ms: number): string {
  const iso = new Date(ms).toISOString();
  return `${iso.slice(8, 10)}/${MONTHS[Number(iso.slice(5, 7)) - 1] ?? ''}/${iso.slice(0, 4)}:${iso.slice(11, 19)} +0000`;
}
