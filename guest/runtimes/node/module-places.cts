/**
 * Modules of layers, where AWS Lambda has them: `/opt/nodejs/node24/node_modules`, then `/opt/nodejs/node_modules`; and then those of the
 * image, the AWS SDK.
 */
import fs = require('node:fs');
import Module = require('node:module');
import path = require('node:path');
import url = require('node:url');
import { errorCode } from './channel.cjs';

interface ResolveContext {
  readonly conditions: readonly string[];
}
type Resolve = (specifier: string, context: object) => unknown;
/** Since Node 22.15. */
type RegisterHooks = (hooks: {
  readonly resolve: (specifier: string, context: ResolveContext, nextResolve: Resolve) => unknown;
}) => void;

function isDirectory(place: string): boolean {
  return fs.statSync(place, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** Has the modules of the image. */
const IMAGE_FOLDER = '/var/runtime';

function isInMachine(root: string): boolean {
  return root === '/srv' || root === '/var/task';
}

/** In a VM /opt; a plain process finds layers in the function's files. */
function nodejsFolder(root: string): string {
  return isInMachine(root) ? '/opt/nodejs' : path.join(root, '.snapfaas/root/opt/nodejs');
}

/** Folders with a `node_modules`, in their order. */
function foldersWithModules(root: string): readonly string[] {
  const hasOwn = isInMachine(root) && isDirectory(path.join(IMAGE_FOLDER, 'node_modules'));
  return hasOwn ? [...foldersOfLayers(root), IMAGE_FOLDER] : foldersOfLayers(root);
}

/** Those for other versions of Node count where there is none for this one. */
function foldersOfLayers(root: string): readonly string[] {
  const folder = nodejsFolder(root);
  if (!isDirectory(folder)) return [];
  const versions = fs
    .readdirSync(folder)
    .filter((name) => /^node[1-9][0-9]*$/.test(name) && isDirectory(path.join(folder, name, 'node_modules')))
    .sort((a, b) => Number(b.slice(4)) - Number(a.slice(4)));
  const own = `node${process.versions.node.split('.')[0] ?? ''}`;
  const folders = (versions.includes(own) ? [own] : versions).map((name) => path.join(folder, name));
  return isDirectory(path.join(folder, 'node_modules')) ? [...folders, folder] : folders;
}

/** Directories that `require` searches for modules that the function does not bring. */
export function modulePlaces(root: string): readonly string[] {
  return foldersWithModules(root).map((folder) => path.join(folder, 'node_modules'));
}

/** `require` knows places from NODE_PATH; `import` finds nothing there by itself, and does on AWS. */
export function importFromPlaces(root: string): void {
  const parents = foldersWithModules(root).map((folder) => url.pathToFileURL(path.join(folder, '-')).href);
  const { registerHooks } = Module as unknown as { readonly registerHooks?: RegisterHooks };
  if (parents.length === 0 || registerHooks === undefined) return;
  registerHooks({
    resolve: (specifier, context, nextResolve) => {
      try {
        return nextResolve(specifier, context);
      } catch (error) {
        const isBare = !/^(?:\.{0,2}\/|[a-z][a-z0-9+.-]*:|#)/i.test(specifier);
        if (!isBare || errorCode(error) !== 'ERR_MODULE_NOT_FOUND' || !context.conditions.includes('import'))
          throw error;
        for (const parentURL of parents) {
          try {
            return nextResolve(specifier, { ...context, parentURL });
          } catch {
            // The next may have it; if none has, what is missing is missed where it was asked for.
          }
        }
        throw error;
      }
    },
  });
}

/** Node reads NODE_PATH when it starts. */
export function searchNodePath(): void {
  (Module as unknown as { _initPaths(): void })._initPaths();
}
