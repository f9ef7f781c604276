/**
 * Runs in the commands of people. A handler with all that it imports as one file, by esbuild, which reads TypeScript and
 * JavaScript and runs none of it.
 *
 * It is an ES module, whatever it was made of: those can wait at their top. What CommonJS modules expect to find they find as
 * globals, so that a module that declares the same names keeps its own.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PluginBuild } from 'esbuild';
import { NODE_MAJOR, NODE_SDK_PACKAGES, ON_DEMAND_RUNTIMEFS } from '../protocol/runtimes.ts';
import { badInput } from './client-error.ts';

const MAX_ERRORS = 10;

const GLOBALS = [
  "import { createRequire as snapfaasCreateRequire } from 'node:module';",
  'globalThis.require ??= snapfaasCreateRequire(import.meta.url);',
  'globalThis.__filename ??= import.meta.filename;',
  'globalThis.__dirname ??= import.meta.dirname;',
].join('\n');

export interface Bundle {
  readonly content: Buffer;
  readonly warnings: readonly string[];
}

/**
 * @param entry path of the handler's file from `directory`.
 * @param modules a directory with further packages in `node_modules`; null: there is none.
 * @param runtime as it was asked for, such as `nodejs22.x`; undefined: it was not.
 * @throws ClientError with the place of each mistake.
 */
export async function bundle(
  directory: string,
  entry: string,
  modules: string | null,
  runtime?: string,
): Promise<Bundle> {
  const { build, formatMessages } = await import('esbuild');
  const result = await build({
    absWorkingDir: directory,
    entryPoints: [`./${entry}`],
    bundle: true,
    write: false,
    outdir: 'bundle',
    outExtension: { '.js': '.mjs' },
    platform: 'node',
    target: `node${ON_DEMAND_RUNTIMEFS.find((name) => name === runtime)?.replace(/\D/g, '') ?? NODE_MAJOR}`,
    format: 'esm',
    keepNames: true,
    banner: { js: GLOBALS },
    logLevel: 'silent',
    // What the guests bring themselves.
    external: ['snapfaas'],
    plugins: [{ name: 'aws-sdk', setup: leaveSdkToTheImage }],
    ...(modules !== null && { nodePaths: [join(modules, 'node_modules')] }),
  }).catch(async (error: unknown) => {
    const errors = isBuildFailure(error) ? error.errors : null;
    if (errors === null) throw error;
    const said = await formatMessages(errors.slice(0, MAX_ERRORS), { kind: 'error', color: false });
    return badInput(`${join(directory, entry)} cannot be bundled:\n${said.join('').trimEnd()}${advice(errors)}`, error);
  });
  const [file] = result.outputFiles;
  if (file === undefined) throw new Error(`esbuild made nothing of ${entry}`);
  const warnings = await formatMessages(result.warnings, { kind: 'warning', color: false });
  return { content: Buffer.from(file.contents), warnings: warnings.map((text) => text.trim()) };
}

/** Packages of the SDK that the function does not bring are in the image, and not here. */
function leaveSdkToTheImage(build: PluginBuild): void {
  build.onResolve({ filter: /^@aws-sdk\// }, async ({ path, pluginData, ...from }) => {
    if (pluginData === RESOLVED || !NODE_SDK_PACKAGES.includes(path)) return null;
    const { importer, namespace, resolveDir, kind } = from;
    const found = await build.resolve(path, { importer, namespace, resolveDir, kind, pluginData: RESOLVED });
    return found.errors.length === 0 ? found : { path, external: true };
  });
}

/** Marks what a plugin asks for itself, which it is not to be asked about again. */
const RESOLVED = Symbol('resolved');

/**
 * Looks whether a file can be read as what its ending says, before it is deployed and fails there.
 * @throws ClientError with the place of each mistake.
 */
export async function checkSyntax(directory: string, path: string): Promise<void> {
  const { transform, formatMessages } = await import('esbuild');
  const loader = /\.[mc]?ts$/.test(path) ? 'ts' : 'js';
  const source = await readFile(join(directory, path), 'utf8');
  await transform(source, { loader, sourcefile: path, logLevel: 'silent' }).catch(async (error: unknown) => {
    if (!isBuildFailure(error)) throw error;
    const said = await formatMessages(error.errors.slice(0, MAX_ERRORS), { kind: 'error', color: false });
    return badInput(`${join(directory, path)} cannot be read:\n${said.join('').trimEnd()}`, error);
  });
}

type Messages = Parameters<(typeof import('esbuild'))['formatMessages']>[0];

function isBuildFailure(error: unknown): error is { readonly errors: Messages } {
  return error instanceof Error && 'errors' in error && Array.isArray(error.errors);
}

function advice(errors: Messages): string {
  const all = errors.map(({ text }) => text).join('\n');
  if (/No loader is configured for "\.node"/.test(all)) {
    return '\na package brings a native module, which cannot be bundled; deploy without bundling: bundle: false, or --no-bundle';
  }
  return /Could not resolve/.test(all)
    ? '\ninstall what is missing ("npm install NAME"), so that it is in package-lock.json'
    : '';
}
