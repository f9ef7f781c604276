/**
 * Runs in the builder and in `npm start`. The root file system of the Node runtime: one binary from npm, and the libraries
 * it is linked with from Debian.
 */
import { mkdir, readFile, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { NODE_MAJOR, NODE_PACKAGE } from '../protocol/runtimes.ts';
import { NODE_SDK_RECIPE, placeNodeSdk } from './aws-sdk.ts';
import { downloadPackages, unpackPackages, versionsOf, type DebianPackage } from './debian.ts';
import { HOOKS_PACKAGE_FILES, placeHooksPackage } from './hooks-package.ts';
import { listProjectFiles, PROJECT_ROOT } from './project.ts';
import { FRAME_RECIPE, finishFrame, layFrame, placeFile } from './runtimefs.ts';
import { listRuntimeApi, placeRuntimeApi, RUNTIME_API_RECIPE } from './runtime-api.ts';
import type { RuntimeImage } from './runtimes.ts';
import { runTool } from './tool.ts';
import { finishUserland, resolveRoot, USERLAND_RECIPE, type RootPackages } from './userland.ts';

/** The folders of the runtime's modules, as written and as built, from the project's root; and their place in the guest. */
const SOURCE_FOLDER = join('guest', 'runtimes', 'node');
const BUILT_FOLDER = join('dist', 'guest', 'node');
const RUNTIME_PLACE = join('usr', 'lib', 'snapfaas');

const PACKAGES = ['libc6', 'libstdc++6', 'libgcc-s1'];
const ARGV = ['/usr/bin/node', join('/', RUNTIME_PLACE, 'runtime.cjs')];
/** Of applications on a port: a module of ours comes before theirs. */
const WEB_VARIABLES = [`NODE_OPTIONS=--require=${join('/', RUNTIME_PLACE, 'web.cjs')}`];

/** @param major the version of Node in it. */
function nodeImage(major: string): RuntimeImage {
  return {
    recipe: {
      version: 4,
      frame: FRAME_RECIPE,
      userland: USERLAND_RECIPE,
      packages: [...PACKAGES, `${NODE_PACKAGE}@${major}`],
      argv: ARGV,
      runtimeApi: RUNTIME_API_RECIPE,
      web: WEB_VARIABLES,
      sdk: NODE_SDK_RECIPE,
    },
    listFiles: listNodeFiles,
    resolve: resolveNodeLibraries,
    async fill(root, scratch, update) {
      update('downloading Node');
      const node = await fetchNode(scratch, major);
      update('downloading packages');
      const { unpacked: packages } = await resolveNodeLibraries();
      await fillNodeRoot(root, packages, node);
      await placeRuntimeApi(root, scratch, WEB_VARIABLES);
      const sdk = await placeNodeSdk(root, scratch, update);
      return { ...versionsOf(packages), [node.package]: node.version, ...sdk };
    },
  };
}

export const NODE_IMAGES = {
  nodejs: nodeImage(NODE_MAJOR),
  'nodejs20.x': nodeImage('20'),
  'nodejs22.x': nodeImage('22'),
} as const satisfies Readonly<Record<string, RuntimeImage>>;

/** The runtime's modules. By their sources: what was built of a module that is no more may still lie around. */
async function listModules(): Promise<readonly string[]> {
  const sources = await listProjectFiles(SOURCE_FOLDER, ['.cts']);
  return sources.map((path) => join(BUILT_FOLDER, `${basename(path, '.cts')}.cjs`));
}

/** All files of this project in the root file system, from the project's root. */
async function listNodeFiles(): Promise<readonly string[]> {
  return [...(await listModules()), ...HOOKS_PACKAGE_FILES, ...(await listRuntimeApi())];
}

/** The Debian packages in the root file system, as apt resolves them now. */
function resolveNodeLibraries(): Promise<RootPackages> {
  return resolveRoot(PACKAGES);
}

export interface NodeBinary {
  readonly package: string;
  readonly version: string;
  readonly path: string;
}

const packedSchema = z.tuple([z.object({ version: z.string(), filename: z.string() })]);

/** Fetches the Node binary of a major version with npm, into `scratch`. */
export async function fetchNode(scratch: string, major: string): Promise<NodeBinary> {
  const directory = join(scratch, 'node');
  await mkdir(directory, { recursive: true });
  const wanted = `${NODE_PACKAGE}@${major}`;
  // Not in the project's directory: npm would take its package.json for a workspace's.
  const packed = await runTool('npm', ['pack', '--json', '--silent', '--pack-destination', directory, wanted], {
    cwd: directory,
  });
  const [{ version }] = packedSchema.parse(JSON.parse(packed.toString('utf8')));
  const archive = (await readdir(directory)).find((name) => name.endsWith('.tgz'));
  if (archive === undefined) throw new Error(`npm pack ${wanted} left no archive`);
  await runTool('tar', ['-xzf', archive, 'package/bin/node'], { cwd: directory });
  return { package: NODE_PACKAGE, version, path: join(directory, 'package', 'bin', 'node') };
}

/** Fills the empty directory `root`. */
async function fillNodeRoot(root: string, packages: readonly DebianPackage[], node: NodeBinary): Promise<void> {
  await layFrame(root);
  await unpackPackages(await downloadPackages(packages), root);
  await finishFrame(root, ARGV);
  await finishUserland(root);
  await placeFile(root, 'usr/bin/node', await readFile(node.path), 0o755);
  for (const path of await listModules()) {
    await placeFile(root, join(RUNTIME_PLACE, basename(path)), await readFile(join(PROJECT_ROOT, path)), 0o644);
  }
  await placeHooksPackage(root);
}
