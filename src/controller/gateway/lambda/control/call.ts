/** Runs in snapctr. A request for one of the operations, and what the operations are given. */
import type { Caller } from '../../../../auth/caller.ts';
import type { FunctionControl } from '../../../../control/function-control.ts';
import type { LayerControl } from '../../../../control/layer-control.ts';
import { functionArn, LATEST, type LambdaAccount } from '../../../../protocol/arn.ts';
import type { PackageStore, ReceivedPackage } from '../../../../packages/store.ts';
import type { FunctionRegistry, RegisteredFunction } from '../../../../registry/function-registry.ts';
import type { EventSources } from '../../../event-sources/event-sources.ts';
import { ApiError, validationError } from '../errors.ts';
import type { FunctionReference } from '../names.ts';
import type { Route } from '../routes.ts';
import type { Json } from './render.ts';

/** What is told of event sources. */
export type EventSourceStates = Pick<EventSources, 'stateOf'>;

/** What the operations work on. */
export interface ControlPlane {
  readonly functions: FunctionControl;
  readonly layers: LayerControl;
  readonly packages: PackageStore;
}

export interface Call {
  readonly plane: ControlPlane;
  readonly account: LambdaAccount;
  /** VMs of the smallest function that the host has memory for. */
  readonly maxConcurrency: number;
  /** With the functions of files. */
  readonly registry: Pick<FunctionRegistry, 'get' | 'list' | 'eventSource'>;
  /** Null: there are no servers that could have any. */
  readonly eventSources: EventSourceStates | null;
  readonly caller: Caller;
  readonly parameters: Route['parameters'];
  readonly query: URLSearchParams;
  /** Of the path; null: the path has none. */
  readonly function: FunctionReference | null;
  /** Null: there was none. */
  readonly body: unknown;
  /** A zip file that came with the body. It is discarded afterwards, unless it was kept. */
  readonly code: ReceivedPackage | null;
  /** The URL that downloads a package. */
  readonly linkTo: (sha256: string) => string;
  /** The address of a function URL. */
  readonly urlOf: (id: string) => string;
}

export interface Result {
  readonly status: number;
  /** Null: nothing, or `bytes`. */
  readonly json: Json | null;
  /** JSON that is written already. */
  readonly bytes?: Buffer;
  /** What the audit log is to tell beside what the path says; null: nothing was changed. */
  readonly audit?: Readonly<Record<string, unknown>> | null;
}

export type Operation = (call: Call) => Result | Promise<Result>;

export const ok = (json: Json): Result => ({ status: 200, json });
export const okBytes = (bytes: Buffer): Result => ({ status: 200, json: null, bytes });
export const created = (json: Json): Result => ({ status: 201, json });
export const NOTHING: Result = { status: 204, json: null };

/** The function of the path. */
export function functionOf(call: Call): FunctionReference {
  if (call.function === null) throw new Error('bug: an operation on a function has none in its path');
  return call.function;
}

/** For operations on the function itself. @throws ApiError if a version or alias is named. */
export function wholeFunctionOf(call: Call): string {
  const { name, qualifier } = functionOf(call);
  if (qualifier === null || qualifier === LATEST) return name;
  const arn = functionArn(call.account, name);
  throw new ApiError(
    'InvalidParameterValueException',
    `This operation is of a function, not of a version or an alias: leave ":${qualifier}" of ${arn}:${qualifier} out.`,
  );
}

/** A function of a file, of which nothing is kept; undefined: it is one of the API's, or there is none. */
export function functionOfFile({ plane, registry }: Call, name: string): RegisteredFunction | undefined {
  return plane.functions.find(name) === undefined ? registry.get(name) : undefined;
}

export interface Page<T> {
  readonly items: readonly T[];
  readonly nextMarker: string | null;
}

/**
 * A page of a list. Its marker is the key of the first item that is not on it: items that come and go meanwhile do no harm.
 *
 * @param items in the order of their keys.
 * @throws ApiError for a bad `MaxItems`.
 */
export function pageOf<T>(
  items: readonly T[],
  keyOf: (item: T) => string,
  query: URLSearchParams,
  { most, atOnce }: { readonly most: number; readonly atOnce: number },
): Page<T> {
  const from = firstFrom(items, keyOf, markerOf(query));
  const to = from + Math.min(readMaxItems(query.get('MaxItems'), most, atOnce), atOnce);
  const next = items[to];
  return { items: items.slice(from, to), nextMarker: next === undefined ? null : encodeMarker(keyOf(next)) };
}

/** The key that a page begins with; empty: with the first. @throws ApiError */
export function markerOf(query: URLSearchParams): string {
  const marker = query.get('Marker') ?? '';
  return marker === '' ? '' : decodeMarker(marker);
}

/** Index of the first item whose key is this one, or comes after it. Binary: lists may be long. */
export function firstFrom<T>(items: readonly T[], keyOf: (item: T) => string, key: string): number {
  let [low, high] = [0, items.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const item = items[middle];
    if (item !== undefined && keyOf(item) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

function encodeMarker(key: string): string {
  return Buffer.from(key).toString('base64url');
}

function decodeMarker(marker: string): string {
  const key = Buffer.from(marker, 'base64url').toString('utf8');
  if (marker.length <= 1024 && encodeMarker(key) === marker) return key;
  throw new ApiError('InvalidParameterValueException', `Invalid Marker: ${marker.slice(0, 64)}`);
}

function readMaxItems(text: string | null, most: number, otherwise: number): number {
  if (text === null) return otherwise;
  // Digits alone: `Number` takes much more for a number.
  const items = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (items >= 1 && items <= most) return items;
  throw validationError('maxItems', text, `Member must have value between 1 and ${most}`);
}

export function withMarker(json: Json, nextMarker: string | null): Json {
  return nextMarker === null ? json : { ...json, NextMarker: nextMarker };
}

/** A number as an ordered key. */
export function numberKey(number: number): string {
  return String(number).padStart(12, '0');
}
