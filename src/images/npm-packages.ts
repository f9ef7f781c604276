/**
 * Runs in the builder and in `npm start`. npm packages for a function, as its lock file has them.
 *
 * The function's files are not trusted. So npm runs in a directory of its own, which holds what `npm-project.ts` has found to be
 * harmless; it starts no program, and sees of the environment what is for npm. What it is configured with (registries,
 * tokens, proxies) is the host's: the function's own `.npmrc` is not read.
 */
import { copyFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { readNpmProject, type NpmProject } from './npm-project.ts';
import { runTool, ToolError } from './tool.ts';
import { checkLinks, TreeError } from './tree.ts';

const NPMRC = '.npmrc';

/** Set whatever the host's configuration says; inherited by an npm that npm starts. */
const SETTINGS: Readonly<Record<string, string>> = {
  npm_config_ignore_scripts: 'true',
  // No path leads through a file that is not a directory.
  npm_config_git: '/dev/null/git',
  npm_config_allow_git: 'none',
  // Local packages are linked to, not packed, which would run their scripts.
  npm_config_install_links: 'false',
  npm_config_update_notifier: 'false',
};

/** Of the environment; besides, npm's own variables, and those that the host's `.npmrc` names. */
const PASSED_ON =
  /^(path|home|user|logname|tmpdir|tz|xdg_(config|cache)_home|node_extra_ca_certs|ssl_cert_(file|dir)|(https?|no|all)_proxy)$/i;

/**
 * Runs `npm ci` for a function's directory.
 *
 * @param files the function's files, `package-lock.json` or `npm-shrinkwrap.json` among them, without `node_modules`, which is made.
 * @param scratch an empty directory on the same file system.
 * @returns notes for the user.
 * @throws TreeError if a package has a source that is not allowed; ToolError if npm fails.
 */
export async function addNpmPackages(
  files: string,
  scratch: string,
  signal: AbortSignal | undefined,
): Promise<readonly string[]> {
  const project = await readNpmProject(files);
  const place = join(scratch, 'npm');
  await layOut(project, files, place);
  const options = {
    cwd: place,
    environment: await environment(process.env),
    inherit: false,
    ...(signal && { signal }),
  };
  const configured = project.unencrypted.size === 0 ? [] : await registries(options);
  refuseUnencrypted(files, project.unencrypted, configured);
  const note = existsSync(join(files, NPMRC))
    ? `${NPMRC} is not read: npm takes its registries and whatever else from the configuration of this host`
    : null;
  try {
    await runTool('npm', ['ci', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund'], options);
  } catch (error) {
    if (note === null || !(error instanceof ToolError)) throw error;
    throw new ToolError(error.command, `${error.message}\n(the function's ${note})`, {
      missing: error.missing,
      cause: error,
    });
  }
  for (const directory of project.directories) {
    const [made, wanted] = [join(place, directory, 'node_modules'), join(files, directory, 'node_modules')];
    // A local package may have brought its own.
    if (existsSync(made) && !existsSync(wanted)) await rename(made, wanted);
  }
  await checkLinks(files, 'node_modules');
  const withScripts = await installScripts(join(files, 'node_modules'));
  return [...(note === null ? [] : [note]), ...(withScripts.length === 0 ? [] : [describeScripts(withScripts)])];
}

/** What npm writes of the packages that it has installed. */
const installedSchema = z.object({
  packages: z.record(z.string(), z.object({ hasInstallScript: z.boolean().optional() })),
});

async function installScripts(modules: string): Promise<readonly string[]> {
  const text = await readFile(join(modules, '.package-lock.json'), 'utf8').catch(() => '{"packages":{}}');
  const { packages } = installedSchema.parse(JSON.parse(text));
  const names = Object.entries(packages).flatMap(([path, { hasInstallScript }]) =>
    hasInstallScript === true ? [path.replace(/^.*node_modules\//, '')] : [],
  );
  return [...new Set(names)].sort();
}

function describeScripts(names: readonly string[]): string {
  return (
    `npm packages with install scripts, which are not run: ${names.join(', ')}. One that brings its binary as a package of ` +
    'its own (optionalDependencies) works; else install it on Debian with the Node of the image and put node_modules ' +
    "into the function's directory"
  );
}

async function layOut(project: NpmProject, files: string, place: string): Promise<void> {
  for (const directory of project.directories) await mkdir(join(place, directory), { recursive: true });
  for (const [path, text] of project.texts) await writeFile(join(place, path), text);
  for (const path of project.archives) {
    if (!existsSync(join(files, path))) continue;
    await mkdir(dirname(join(place, path)), { recursive: true });
    await copyFile(join(files, path), join(place, path));
  }
}

function refuseUnencrypted(files: string, urls: ReadonlyMap<string, string>, configured: readonly string[]): void {
  for (const [url, called] of urls) {
    if (configured.some((registry) => originOf(registry) === originOf(url))) continue;
    throw new TreeError(
      `${join(files, 'package-lock.json')}: ${called} comes over http (${url}), which is not a registry of this host's ` +
        'npm configuration; take it from a registry, or over https',
    );
  }
}

function originOf(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : url;
}

/** Those that npm is configured with on this host, scoped ones included. */
async function registries(options: Parameters<typeof runTool>[2]): Promise<readonly string[]> {
  const listed = JSON.parse((await runTool('npm', ['config', 'list', '--json'], options)).toString('utf8')) as object;
  return Object.entries(listed).flatMap(([key, value]: [string, unknown]) =>
    /(^|:)registry$/.test(key) && typeof value === 'string' ? [value] : [],
  );
}

/** What npm sees of the environment `of`. */
async function environment(of: NodeJS.ProcessEnv): Promise<Readonly<Record<string, string>>> {
  const named = await namedInConfiguration(of);
  const passed = Object.entries(of).filter(([name]) => {
    if (name.toLowerCase() in SETTINGS) return false;
    return PASSED_ON.test(name) || /^npm_config_/i.test(name) || named.has(name);
  });
  return { ...Object.fromEntries(passed.map(([name, value]) => [name, value ?? ''])), ...SETTINGS };
}

/** Variables that the host's own `.npmrc` files refer to, as in `${NPM_TOKEN}`. */
async function namedInConfiguration(of: NodeJS.ProcessEnv): Promise<ReadonlySet<string>> {
  const configured = (key: string): string | undefined =>
    Object.entries(of).find(([name]) => name.toLowerCase() === `npm_config_${key}`)?.[1];
  const paths = [
    configured('userconfig') ?? join(of['HOME'] ?? homedir(), NPMRC),
    configured('globalconfig') ?? join(dirname(process.execPath), '..', 'etc', 'npmrc'),
    '/etc/npmrc',
  ];
  const texts = await Promise.all(paths.map((path) => readFile(path, 'utf8').catch(() => '')));
  return new Set(texts.flatMap((text) => [...text.matchAll(/\$\{([^}?]+)\??\}/g)].map(([, name]) => name ?? '')));
}
