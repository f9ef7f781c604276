/** For tests of whoever writes requests to Firecracker: judges them by its API description. */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { ApiDescription, type ApiDocument } from './description.ts';

export const DESCRIPTION_PATH = new URL('firecracker-v1.16.1.yaml', import.meta.url);

let document: ApiDocument | null = null;

export function apiDocument(): ApiDocument {
  document ??= parse(readFileSync(DESCRIPTION_PATH, 'utf8')) as ApiDocument;
  return document;
}

/**
 * What is wrong with a request's method, path and body; empty if nothing is. Deprecated members are problems too.
 *
 * @param body parsed JSON; undefined: the request has none.
 * @param version of the Firecracker it is sent to.
 */
export function validateRequest(method: string, path: string, body?: unknown, version = '1.16.1'): readonly string[] {
  const { problems, deprecated } = new ApiDescription(apiDocument(), version).check(method, path, body);
  return [...problems, ...deprecated.map((name) => `body: \`${name}\` is deprecated`)];
}
