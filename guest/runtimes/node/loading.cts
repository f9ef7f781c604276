/** From a handler's name to the handler. */
import fs = require('node:fs');
import path = require('node:path');
import url = require('node:url');
import { errorCode } from './channel.cjs';
import type { LoadRequest } from './protocol.cjs';
import type { Handler, Style } from './style.cjs';

/** The handler cannot be found; `name` is the failure's type. */
export class LoadError extends Error {
  constructor(type: string, message: string) {
    super(message);
    this.name = type;
  }
}

/** CommonJS if Node takes it for that, else an ES module, which may wait at its top level. */
async function requireOrImport(file: string): Promise<unknown> {
  try {
    return require(file);
  } catch (error) {
    const code = errorCode(error);
    if (code !== 'ERR_REQUIRE_ESM' && code !== 'ERR_REQUIRE_ASYNC_MODULE') throw error;
    return importFile(require.resolve(file));
  }
}

function importFile(file: string): Promise<unknown> {
  return import(url.pathToFileURL(file).href);
}

/**
 * Whether the nearest package.json above the file says that it is an ES module. What cannot be read here is Node's to read, or
 * to complain of, when the file is required.
 */
function isModuleScope(file: string): boolean {
  for (let directory = path.dirname(file); ; directory = path.dirname(directory)) {
    const description = path.join(directory, 'package.json');
    if (fs.existsSync(description)) {
      try {
        const text = fs.readFileSync(description, 'utf8').replace(/^\uFEFF/, '');
        return (JSON.parse(text) as { type?: unknown } | null)?.type === 'module';
      } catch {
        return false;
      }
    }
    if (directory === path.dirname(directory) || path.basename(directory) === 'node_modules') return false;
  }
}

/** `type` in package.json decides on `.js` and `.ts`. */
function importScript(script: string): Promise<unknown> {
  return isModuleScope(script) ? importFile(script) : requireOrImport(script);
}

/** TypeScript whose types Node itself takes off. */
function importTypeScript(root: string, script: string): Promise<unknown> {
  if (!('typescript' in process.features && Boolean(process.features.typescript))) {
    const problem = `Node ${process.versions.node} does not run TypeScript, Node 24 does`;
    throw new LoadError('Runtime.ImportModuleError', `Cannot import '${path.relative(root, script)}': ${problem}`);
  }
  if (script.endsWith('.mts')) return importFile(script);
  return script.endsWith('.cts') ? requireOrImport(script) : importScript(script);
}

/** In Lambda's order: the bare name, JavaScript, TypeScript, and last what Node itself finds from the root. */
async function importModule(root: string, name: string): Promise<unknown> {
  const file = path.resolve(root, name);
  if (fs.existsSync(file) && fs.statSync(file).isFile()) return requireOrImport(file);
  if (fs.existsSync(`${file}.js`)) return importScript(`${file}.js`);
  if (fs.existsSync(`${file}.mjs`)) return importFile(`${file}.mjs`);
  if (fs.existsSync(`${file}.cjs`)) return requireOrImport(`${file}.cjs`);
  const typed = ['.ts', '.mts', '.cts'].map((extension) => file + extension).find((script) => fs.existsSync(script));
  if (typed !== undefined) return importTypeScript(root, typed);
  return requireOrImport(fs.existsSync(file) ? file : require.resolve(path.normalize(name), { paths: [root] }));
}

function lookUp(container: unknown, keys: readonly string[]): unknown {
  let value = container;
  for (const key of keys) {
    if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return undefined;
    value = (value as Record<string, unknown>)[key];
  }
  return value;
}

/** @throws LoadError, or whatever the import throws. */
export async function loadHandler(request: LoadRequest, style: Style): Promise<Handler> {
  process.chdir(request.root);
  const { file, exportPath, name } = style.placeOf(request.handler);
  const loaded = await importModule(request.root, file);
  const found = lookUp(loaded, exportPath) ?? lookUp(loaded, ['default', ...exportPath]);
  if (typeof found !== 'function') {
    const problem = found === undefined ? 'is undefined or not exported' : 'is not a function';
    throw new LoadError('Runtime.HandlerNotFound', `${name} ${problem}`);
  }
  const handler = found as Handler;
  style.accept(handler);
  return handler;
}
