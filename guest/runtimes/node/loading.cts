/** From a handler's name to the handler. */
import fs = require('node:fs');
import path = require('node:path');
import url = require('node:url');
import { errorCode } from './channel.cjs';
import type { InvokeHeader, LoadRequest } from './protocol.cjs';

export type Callback = (error: unknown, result?: unknown) => void;
export type Handler = (event: unknown, context?: Context, callback?: Callback) => unknown;

export interface Context {
  readonly awsRequestId: string;
  readonly functionName: string;
  readonly memoryLimitInMB: string;
  getRemainingTimeInMillis(): number;
}

/** The handler cannot be found; `name` is the failure's type. */
class LoadError extends Error {
  constructor(type: string, message: string) {
    super(message);
    this.name = type;
  }
}

function malformed(name: string): LoadError {
  return new LoadError('Runtime.MalformedHandlerName', `Bad handler '${name}': expected file.function`);
}

/** `dir/file.a.b` → file `dir/file`, export `a.b`. */
function splitHandler(name: string | null): { file: string; exportPath: string[] } {
  if (name === null) return { file: 'workload', exportPath: ['handle'] };
  const baseName = path.posix.basename(name);
  const dot = baseName.indexOf('.');
  if (dot <= 0 || name.includes('..') || path.isAbsolute(name)) throw malformed(name);
  const exportPath = baseName.slice(dot + 1).split('.');
  if (exportPath.includes('')) throw malformed(name);
  return { file: path.posix.join(path.posix.dirname(name), baseName.slice(0, dot)), exportPath };
}

async function importModule(file: string): Promise<unknown> {
  const esm = `${file}.mjs`;
  if (!fs.existsSync(`${file}.js`) && fs.existsSync(esm)) return import(url.pathToFileURL(esm).href);
  const target = !fs.existsSync(`${file}.js`) && fs.existsSync(`${file}.cjs`) ? `${file}.cjs` : file;
  try {
    return require(target);
  } catch (error) {
    const code = errorCode(error);
    if (code !== 'ERR_REQUIRE_ESM' && code !== 'ERR_REQUIRE_ASYNC_MODULE') throw error;
    return import(url.pathToFileURL(require.resolve(target)).href);
  }
}

function lookUp(container: unknown, keys: readonly string[]): unknown {
  let value = container;
  for (const key of keys) {
    if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return undefined;
    value = (value as Record<string, unknown>)[key];
  }
  return value;
}

export async function loadHandler(request: LoadRequest): Promise<Handler> {
  Object.assign(process.env, request.environment);
  process.chdir(request.root);
  const { file, exportPath } = splitHandler(request.handler);
  const loaded = await importModule(path.join(request.root, file));
  const found = lookUp(loaded, exportPath) ?? lookUp(loaded, ['default', ...exportPath]);
  if (typeof found !== 'function') {
    const name = `${file}.${exportPath.join('.')}`;
    const problem = found === undefined ? 'is undefined or not exported' : 'is not a function';
    throw new LoadError('Runtime.HandlerNotFound', `${name} ${problem}`);
  }
  return found as Handler;
}

export function makeContext(request: LoadRequest, header: string): Context {
  const { id = '', deadline_ms: deadlineMs = 0 } = JSON.parse(header === '' ? '{}' : header) as InvokeHeader;
  return {
    awsRequestId: id,
    functionName: request.function,
    memoryLimitInMB: String(request.memory_mib),
    getRemainingTimeInMillis: () => Math.max(0, Math.floor(deadlineMs - Date.now())),
  };
}
