/**
 * Runs in snapctr. A request as AWS Signature Version 4 has it: the one form that client and server both bring it into
 * before they sign it (docs.aws.amazon.com, "Create a signed AWS API request"). All texts are bytes, one for each character,
 * as `node:http` gives them.
 *
 * ```
 *   POST                                        method
 *   /2015-03-31/functions/a%2520b/invocations   path: no `.`, `..` and empty segments; encoded once more
 *   Qualifier=%24LATEST&X=                      query: decoded, encoded anew, in order
 *   host:localhost:8080                         each signed header, with blanks of one space
 *   x-amz-date:20260101T000000Z
 *
 *   host;x-amz-date                             their names
 *   e3b0c442…                                   SHA-256 of the body, or what stands for it
 * ```
 */

/** Of a request before its body came, as `node:http` has it. */
export interface RequestHead {
  readonly method?: string | undefined;
  /** Names and values in turn, as they came. */
  readonly rawHeaders: readonly string[];
}

/** Values by name in lower case, each as often as it came. */
export type HeaderValues = ReadonlyMap<string, readonly string[]>;

export function headerValues(rawHeaders: readonly string[]): HeaderValues {
  const values = new Map<string, string[]>();
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = (rawHeaders[at] ?? '').toLowerCase();
    const value = rawHeaders[at + 1] ?? '';
    const before = values.get(name);
    if (before === undefined) values.set(name, [value]);
    else before.push(value);
  }
  return values;
}

/** @param path from the first slash on, without a query. */
export function canonicalPath(path: string): string {
  const segments: string[] = [];
  for (const segment of path.split('/')) {
    if (segment === '..') segments.pop();
    else if (segment !== '' && segment !== '.') segments.push(encode(segment));
  }
  const end = segments.length > 0 && path.endsWith('/') ? '/' : '';
  return `/${segments.join('/')}${end}`;
}

/** Decoded names and values in the order in which they came. A `+` is a blank, as it is for those who serve the request. */
export function queryParameters(query: string): readonly (readonly [name: string, value: string])[] {
  if (query === '') return [];
  return query.split('&').flatMap((part) => {
    if (part === '') return [];
    const equals = part.indexOf('=');
    return equals === -1
      ? [[decode(part), ''] as const]
      : [[decode(part.slice(0, equals)), decode(part.slice(equals + 1))] as const];
  });
}

export function canonicalQuery(parameters: readonly (readonly [name: string, value: string])[]): string {
  if (parameters.length === 0) return '';
  return parameters
    .map(([name, value]) => [encode(name), encode(value)] as const)
    .sort(([name, value], [otherName, otherValue]) => compare(name, otherName) || compare(value, otherValue))
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
}

/** The lines of signed headers, each with its end. @returns null if one of them is not there. */
export function canonicalHeaders(headers: HeaderValues, signed: readonly string[]): string | null {
  let lines = '';
  for (const name of signed) {
    const values = headers.get(name);
    if (values === undefined) return null;
    lines += `${name}:${values.map(trimmed).join(',')}\n`;
  }
  return lines;
}

const BLANKS = /[\t\n\v\f\r ]+/g;

function trimmed(value: string): string {
  const single = value.replace(BLANKS, ' ');
  return single.slice(single.startsWith(' ') ? 1 : 0, single.endsWith(' ') && single.length > 1 ? -1 : undefined);
}

/** Everything but letters, digits and `-._~` as `%XX`. */
function encode(text: string): string {
  return text.replace(
    /[^A-Za-z0-9\-._~]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  );
}

/** What is no `%XX` stands for itself. */
function decode(text: string): string {
  return text
    .replaceAll('+', ' ')
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

function compare(left: string, right: string): number {
  if (left === right) return 0;
  return left < right ? -1 : 1;
}
