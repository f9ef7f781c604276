/**
 * Runs in the commands of people. What goes into a function's package, which is complete, as AWS wants it:
 *
 * ```
 *   the directory ── without what is ignored ──────────────────────┐
 *   package-lock.json ── npm ci, no scripts ──▶ node_modules       ├──▶ path in the package → where it is now
 *   requirements.txt, pyproject.toml ── wheels ──▶ the package's top
 *   a handler in TypeScript ── esbuild ──▶ one file                ┘
 * ```
 *
 * Packages of Debian, by a `debian-packages.txt` among its files, are laid below it where it is made ready.
 *
 * The function's own files win over what is brought. No program of the function runs.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vendoredNames } from '../images/app-pypi.ts';
import { scanTree, type TreeEntry } from '../images/tree.ts';
import { describeUnread } from '../images/unread-files.ts';
import { RUNTIMES, type RuntimeName } from '../protocol/runtimes.ts';
import { bundle, checkSyntax } from './bundle.ts';
import { badInput } from './client-error.ts';
import { checkClasses, detectHandler, detectLanguage, handlerFile, languageOf, type Files } from './detection.ts';
import type { FunctionSettings } from './function-settings.ts';
import { readIgnored } from './ignored-files.ts';
import { hasLock, npmModules } from './npm-modules.ts';
import { pythonModules, wantedOf } from './python-modules.ts';
import type { ZipEntry } from './zip.ts';

export interface ContentsOptions {
  readonly settings: Pick<FunctionSettings, 'runtime' | 'handler' | 'bundle'>;
  /** Used where the settings name none and it is in the files, as that of a function that is deployed already. */
  readonly knownHandler?: string | undefined;
  /** The same of its runtime. */
  readonly knownRuntime?: string | undefined;
  /** False: packages are taken as they lie in the directory. */
  readonly install: boolean;
  readonly onProgress: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
}

export interface Contents {
  readonly language: RuntimeName;
  readonly handler: string;
  readonly entries: ReadonlyMap<string, ZipEntry>;
  /** What a user should know. */
  readonly notes: readonly string[];
}

/** Sources and settings that a bundle has no use for, and that would be found beside it. */
const BUNDLED = /\.[mc]?[jt]sx?$|(^|\/)(tsconfig[^/]*|package(-lock)?|npm-shrinkwrap)\.json$/;

/**
 * Finds and makes all that the function needs; what was made is there while `work` runs.
 *
 * @throws ClientError, TreeError and ToolError with what to change.
 */
export async function withContents<T>(
  directory: string,
  options: ContentsOptions,
  work: (contents: Contents) => Promise<T>,
): Promise<T> {
  const scratch = await mkdtemp(join(tmpdir(), 'snapfaas-contents-'));
  try {
    return await work(await new Gathering(directory, options, scratch).gather());
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

class Gathering {
  readonly #directory: string;
  readonly #options: ContentsOptions;
  readonly #scratch: string;
  readonly #entries = new Map<string, ZipEntry>();
  readonly #notes: string[] = [];
  readonly #hasModules: boolean;

  constructor(directory: string, options: ContentsOptions, scratch: string) {
    this.#directory = directory;
    this.#options = options;
    this.#scratch = scratch;
    this.#hasModules = existsSync(join(directory, 'node_modules'));
  }

  async gather(): Promise<Contents> {
    const ignored = await readIgnored(this.#directory);
    const own = await scanTree(this.#directory, (path) => path === 'node_modules/' || ignored(path));
    const files: Files = new Set(own.flatMap(({ path, type }) => (type === 'directory' ? [] : [path])));
    if (files.size === 0) badInput(`${this.#directory} has no files; put the function into it`);
    const { settings, knownHandler } = this.#options;
    const language =
      settings.runtime === undefined ? detectLanguage(this.#directory, files) : languageOf(settings.runtime);
    if (language === 'java') checkClasses(this.#directory, files);
    const handler =
      settings.handler ?? this.#known(knownHandler, language, files) ?? detectHandler(this.#directory, language, files);
    const file = handlerFile(handler, language, files);
    const isFile = RUNTIMES[language].moduleOf(handler) !== null;
    if (file === null && isFile && language !== 'python3') this.#refuseHandler(handler);
    this.#notes.push(...(await describeUnread(this.#directory, own, language)).filter((note) => this.#matters(note)));
    const isTypeScript = file !== null && /\.[mc]?tsx?$/.test(file);
    if (language === 'python3') await this.#python(own, files);
    else if (RUNTIMES[language].speaksRuntimeApi) this.#add(this.#directory, await scanTree(this.#directory, ignored));
    else if (file !== null && (settings.bundle ?? isTypeScript)) await this.#bundle(own, files, file);
    else {
      if (file !== null) await checkSyntax(this.#directory, file);
      await this.#node(own, files, ignored);
    }
    if (language === 'python3' && handlerFile(handler, language, new Set(this.#entries.keys())) === null) {
      this.#refuseHandler(handler);
    }
    return { language, handler, entries: this.#entries, notes: this.#notes };
  }

  #known(handler: string | undefined, language: RuntimeName, files: Files): string | null {
    return handler !== undefined && handlerFile(handler, language, files) !== null ? handler : null;
  }

  #refuseHandler(handler: string): never {
    const slip = /^[^./][^.]*$/.test(handler) ? '; a handler is FILE.FUNCTION' : '';
    return badInput(`the handler "${handler}" names no file in ${this.#directory}${slip}; correct it, or add the file`);
  }

  /** `node_modules` was left out when the directory was looked at. */
  #matters(note: string): boolean {
    return !this.#hasModules || !note.includes('node_modules');
  }

  #add(directory: string, entries: readonly TreeEntry[], under = ''): void {
    for (const entry of entries) {
      const path = under === '' ? entry.path : `${under}/${entry.path}`;
      if (!this.#entries.has(path)) this.#entries.set(path, zipEntry(directory, entry));
    }
  }

  async #python(own: readonly TreeEntry[], files: Files): Promise<void> {
    this.#add(this.#directory, own);
    if (!this.#options.install) return;
    const wanted = await wantedOf(this.#directory, files);
    const vendored = vendoredNames(own);
    if (wanted === null || wanted.names.every((name) => vendored.has(name))) return;
    const { onProgress, signal } = this.#options;
    const modules = await pythonModules(wanted, onProgress, signal);
    this.#add(modules, await scanTree(modules));
  }

  async #node(own: readonly TreeEntry[], files: Files, ignored: (path: string) => boolean): Promise<void> {
    this.#add(this.#directory, own);
    if (this.#options.install && hasLock(files)) {
      const modules = await this.#install(own);
      this.#add(modules, await scanTree(modules, ignored));
      return;
    }
    const all = await scanTree(this.#directory, ignored);
    this.#add(this.#directory, all);
  }

  async #bundle(own: readonly TreeEntry[], files: Files, entry: string): Promise<void> {
    // Where there are packages already, it is they that the author has tried.
    const modules = this.#options.install && hasLock(files) && !this.#hasModules ? await this.#install(own) : null;
    this.#options.onProgress(`bundling ${entry}`);
    const { settings, knownRuntime } = this.#options;
    const { content, warnings } = await bundle(this.#directory, entry, modules, settings.runtime ?? knownRuntime);
    this.#notes.push(...warnings);
    const assets = own.filter(({ path, type }) => type !== 'file' || !BUNDLED.test(path));
    this.#add(this.#directory, assets);
    this.#entries.set(entry.replace(/\.[mc]?[jt]sx?$/, '.mjs'), { type: 'content', content });
  }

  async #install(own: readonly TreeEntry[]): Promise<string> {
    const { onProgress, signal } = this.#options;
    const { directory, notes } = await npmModules(this.#directory, own, { scratch: this.#scratch, onProgress, signal });
    this.#notes.push(...notes);
    return directory;
  }
}

/** A directory as it lies there. */
export async function allEntries(directory: string): Promise<ReadonlyMap<string, ZipEntry>> {
  const entries = await scanTree(directory);
  return new Map(entries.map((entry) => [entry.path, zipEntry(directory, entry)]));
}

function zipEntry(directory: string, entry: TreeEntry): ZipEntry {
  switch (entry.type) {
    case 'file':
      return { type: 'file', source: join(directory, entry.path), executable: entry.executable };
    case 'symlink':
      return { type: 'symlink', target: entry.target };
    default:
      return entry;
  }
}
