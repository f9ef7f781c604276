/** `snapctr snapshots …`: the seam between the configuration, firerunner, and the store of layers. */
import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { SnapshotStore, type LayerSummary } from '../firerunner/snapshots/store.ts';
import { BuilderClient } from '../controller/builder/builder-client.ts';
import { builderCommand } from '../controller/builder/builder-command.ts';
import { createBuild } from '../controller/builder/function-files.ts';
import { ConfigError, loadConfig, type Config } from '../controller/config/config.ts';
import { EXIT_FAILED, EXIT_OK, EXIT_USAGE } from '../controller/exit-status.ts';
import { createLogger } from '../controller/log.ts';
import { prepareSnapshots } from '../controller/runner/prepare-snapshots.ts';
import { messageOf } from '../protocol/errors.ts';
import { VMM_NAMES, type VmmWish } from '../protocol/vmms.ts';
import type { QemuAccelerator } from '../protocol/runner.ts';
import type { Build } from '../registry/deployments.ts';
import type { FunctionVersion } from '../registry/function-version.ts';
import { seconds } from './flags.ts';

/** Builds that are asked for at once. */
const BUILDS_AT_ONCE = 100;

interface BuildFlags {
  readonly config: string;
  readonly vmm: VmmWish;
  readonly accel: 'auto' | QemuAccelerator;
  /** Seconds. */
  readonly bootTimeout: number;
}

interface StoreFlags {
  readonly config?: string;
  readonly dir?: string;
  readonly json?: true;
}

const EXAMPLES = `
Examples:
  $ snapctr snapshots build --config resources/controller.yaml    make what is missing or out of date
  $ snapctr snapshots list --config resources/controller.yaml
  $ snapctr snapshots verify --dir images/snapshots               read every layer and compare digests
  $ snapctr snapshots prune --config resources/controller.yaml    remove what no function of it needs

A controller that runs makes snapshots by itself; these commands are for doing it ahead, and for looking after the disk.`;

/** Adds `snapshots` with its subcommands. */
export function registerSnapshotsCommand(program: Command): void {
  const snapshots = program
    .command('snapshots')
    .description('make, list, verify and remove the snapshots that functions start from')
    .addHelpText('after', EXAMPLES);
  const building = (command: Command): Command =>
    command
      .requiredOption('-c, --config <file>', 'controller configuration (YAML)')
      .addOption(new Option('--vmm <name>', 'what runs the VMs').choices(['auto', ...VMM_NAMES]).default('auto'))
      .addOption(
        new Option('--accel <name>', 'how QEMU runs the guests').choices(['auto', 'kvm', 'tcg']).default('auto'),
      )
      .option('--boot-timeout <s>', 'seconds from the launch of a VM to its loaded function', seconds, 60);
  const reading = (command: Command): Command =>
    command
      .option('-c, --config <file>', 'controller configuration (YAML): its snapshot_dir')
      .option('--dir <directory>', 'directory of snapshots')
      .option('--json', 'as JSON, with all that is known of each layer');

  building(snapshots.command('build'))
    .description('make the snapshot of every function, unless it is there')
    .action(
      tellingFailures(async (flags: BuildFlags) => {
        await build(flags);
      }),
    );
  reading(snapshots.command('list'))
    .description('show every layer with its size')
    .action(tellingFailures(async (flags: StoreFlags) => show(await openStore(flags).list(), flags)));
  reading(snapshots.command('verify'))
    .description('read every layer whole; exit status 1 if one is damaged')
    .action(tellingFailures(verify));
  building(snapshots.command('prune'))
    .description('make what is missing, then remove every layer that no function of the configuration needs')
    .action(tellingFailures(prune));
}

/** A stack says nothing to someone whose configuration is wrong, whose disk is full, or whose VMM cannot do it. */
function tellingFailures<Flags>(action: (flags: Flags) => Promise<void>) {
  return async (flags: Flags): Promise<void> => {
    try {
      await action(flags);
    } catch (error) {
      process.stderr.write(`snapctr: ${messageOf(error)}\n`);
      process.exitCode = error instanceof ConfigError ? EXIT_USAGE : EXIT_FAILED;
    }
  };
}

/** @returns the directory and the names of the functions' layers; null if one of them could not be made. */
async function build(flags: BuildFlags): Promise<{ directory: string; layers: readonly string[] } | null> {
  const logger = createLogger('warn');
  const loaded = loadConfig(flags.config, {
    memoryMib: Number.MAX_SAFE_INTEGER,
    hostMemoryMib: Number.MAX_SAFE_INTEGER,
    vmm: flags.vmm,
    cwd: process.cwd(),
  });
  const builder = new BuilderClient(builderCommand(), logger);
  const { versions, broken } = await buildAll(loaded, createBuild(builder, flags.vmm, logger)).finally(() =>
    builder.close(),
  );
  const layers = await prepareSnapshots(
    loaded,
    versions,
    { ...flags, bootTimeoutMs: flags.bootTimeout * 1000, logger },
    (text) => process.stderr.write(`${text}\n`),
  );
  for (const [fn, layer] of layers) if (layer !== null) process.stdout.write(`${fn} ${layer}\n`);
  for (const problems of broken) process.stderr.write(`snapctr: ${problems.join('\nsnapctr: ')}\n`);
  const made = [...layers.values()].filter((layer) => layer !== null);
  const isWhole = made.length === layers.size && broken.length === 0;
  process.exitCode = isWhole ? EXIT_OK : EXIT_FAILED;
  return isWhole ? { directory: loaded.snapshotDirectory, layers: made } : null;
}

/** @returns what is ready, and the problems of what is not. */
async function buildAll(
  { functions, broken }: Config,
  makeFiles: Build,
): Promise<{ readonly versions: readonly FunctionVersion[]; readonly broken: readonly (readonly string[])[] }> {
  const { signal } = new AbortController();
  const made = new Map<string, FunctionVersion>();
  const problems = broken.map((one) => one.problems);
  const rest = functions.values();
  const makeRest = async (): Promise<void> => {
    for (const fn of rest) {
      try {
        made.set(fn.name, await makeFiles(fn, signal));
      } catch (error) {
        problems.push([messageOf(error)]);
      }
    }
  };
  await Promise.all(Array.from({ length: BUILDS_AT_ONCE }, makeRest));
  return { versions: [...functions.keys()].flatMap((name) => made.get(name) ?? []), broken: problems };
}

async function verify(flags: StoreFlags): Promise<void> {
  const store = openStore(flags);
  const verifications = await store.verify();
  const damaged = verifications.filter(({ problem }) => problem !== null);
  if (damaged.length > 0) process.exitCode = EXIT_FAILED;
  if (flags.json === true) {
    process.stdout.write(`${JSON.stringify(verifications, null, 2)}\n`);
    return;
  }
  for (const { name, problem } of damaged) process.stdout.write(`${name}: ${problem ?? ''}\n`);
  if (damaged.length > 0) return;
  const { length } = verifications;
  process.stdout.write(length === 0 ? `no layers in ${store.directory}\n` : `${length} layers are as they were made\n`);
}

async function prune(flags: BuildFlags): Promise<void> {
  const built = await build(flags);
  if (built === null) {
    process.stderr.write('snapctr: nothing is removed, for not every function has its snapshot\n');
    return;
  }
  const store = new SnapshotStore(built.directory);
  const keep = new Set(built.layers);
  const all = await store.list();
  const bases = new Set(all.filter(({ name }) => keep.has(name)).map(({ base }) => base));
  for (const { name, digest } of all) if (digest !== null && bases.has(digest)) keep.add(name);
  for (const name of await store.prune(keep)) process.stdout.write(`removed ${name}\n`);
}

function openStore({ dir, config }: StoreFlags): SnapshotStore {
  if (dir !== undefined) return new SnapshotStore(resolve(dir));
  if (config === undefined) {
    process.stderr.write('snapctr: give --config FILE or --dir DIRECTORY\n');
    process.exit(EXIT_USAGE);
  }
  const context = { memoryMib: Number.MAX_SAFE_INTEGER, hostMemoryMib: Number.MAX_SAFE_INTEGER };
  return new SnapshotStore(loadConfig(config, { ...context, vmm: 'auto', cwd: process.cwd() }).snapshotDirectory);
}

function show(layers: readonly LayerSummary[], { json }: StoreFlags): void {
  if (json === true) {
    process.stdout.write(`${JSON.stringify(layers, null, 2)}\n`);
    return;
  }
  for (const { name, bytes, created, problem, stamp } of layers) {
    const size = `${(bytes / 1024 / 1024).toFixed(1)} MiB`.padStart(10);
    const when = created.toISOString().slice(0, 19);
    const fn = functionOf(stamp) ?? '-';
    process.stdout.write(`${name.padEnd(26)} ${size}  ${when}  ${fn}${problem === null ? '' : `  ${problem}`}\n`);
  }
}

/** The function a layer holds; undefined for a base layer. */
function functionOf(stamp: LayerSummary['stamp']): string | undefined {
  const loaded = stamp?.['function'];
  return typeof loaded === 'string' ? (JSON.parse(loaded) as { readonly function: string }).function : undefined;
}
