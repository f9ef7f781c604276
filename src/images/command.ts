/** Runs in snapctr. `snapctr images …`: argv to one call. Progress goes to stderr, results to stdout. */
import { basename, resolve } from 'node:path';
import { Argument, Option, type Command } from 'commander';
import { exportApp, packApp } from './app-image.ts';
import { stageApp } from './app-stage.ts';
import { buildImages, filesOf, IMAGE_NAMES, verifyImages, wantedImages, type ImageName } from './build.ts';
import { RUNTIME_NAMES, type RuntimeName } from '../protocol/runtimes.ts';
import { messageOf } from '../protocol/errors.ts';
import { DirectoryError } from '../storage/make-directory.ts';
import { inStep, progressOn } from './progress.ts';
import { DEFAULT_IMAGES_DIRECTORY, MissingFileError } from './project.ts';
import { ToolError } from './tool.ts';
import { TreeError } from './tree.ts';

const EXAMPLES = `
Examples:
  $ snapctr images build                          build whatever is missing or out of date
  $ snapctr images build python3 --force          build again, with the newest Debian packages
  $ snapctr images build nodejs22.x               the image of that version, which is otherwise built for the first function that wants it
  $ snapctr images app examples/thumbnail --out thumbnail.ext4
  $ snapctr images verify                         compare every image with its manifest

Building needs Debian (apt-get, e2fsprogs, gcc, lz4) but neither root nor a loop device.
Downloads and function images are kept in $XDG_CACHE_HOME/snapfaas (default ~/.cache/snapfaas).`;

/**
 * Adds `images` with its subcommands `build`, `app` and `verify`. What the user can mend is told on stderr, with exit
 * status 1; other errors are thrown from `parseAsync`.
 */
export function registerImagesCommand(program: Command): void {
  const images = program
    .command('images')
    .description('build the kernel, the root file systems and the images of functions')
    .addHelpText('after', EXAMPLES);

  images
    .command('build')
    .description('build the kernel with its initial RAM disk, and the root file systems of the runtimes')
    .addArgument(whichImage('what to build'))
    .option('--out <dir>', 'images directory', DEFAULT_IMAGES_DIRECTORY)
    .option('--force', 'build even what is up to date, with the newest packages', false)
    .action(tellingFailures(runBuild));

  images
    .command('app')
    .description('make an ext4 image of a directory with a function')
    .argument(
      '<dir>',
      'directory of the function; requirements.txt brings packages of PyPI, package-lock.json of npm, debian-packages.txt (one name per line) of Debian',
    )
    .addOption(
      new Option('--runtime <name>', 'language that packages are for (default: by the files)').choices(RUNTIME_NAMES),
    )
    .requiredOption('--out <file>', 'where to put the image')
    .option('--force', 'build even if the directory has not changed, with the newest packages', false)
    .action(tellingFailures(runApp));

  images
    .command('verify')
    .description('read every image and compare it with its manifest')
    .addArgument(whichImage('what to verify'))
    .option('--out <dir>', 'images directory', DEFAULT_IMAGES_DIRECTORY)
    .action(tellingFailures(runVerify));
}

/** A stack says nothing to someone whose directory or program is missing. */
function tellingFailures<A extends readonly unknown[]>(action: (...args: A) => Promise<void>) {
  return async (...args: A): Promise<void> => {
    try {
      await action(...args);
    } catch (error) {
      if (![TreeError, ToolError, MissingFileError, DirectoryError].some((kind) => error instanceof kind)) throw error;
      process.stderr.write(`error: ${messageOf(error)}\n`);
      process.exitCode = 1;
    }
  };
}

function whichImage(description: string): Argument {
  return new Argument('[what]', description).choices([...IMAGE_NAMES, 'all']).default('all');
}

function chosen(what: ImageName | 'all', directory: string): readonly ImageName[] {
  return what === 'all' ? wantedImages(directory) : [what];
}

async function runBuild(what: ImageName | 'all', options: { out: string; force: boolean }): Promise<void> {
  const directory = resolve(options.out);
  const progress = progressOn(process.stderr);
  const names = chosen(what, directory);
  const built = new Set(await buildImages(names, { directory, force: options.force, progress }));
  for (const name of names) {
    if (!built.has(name)) process.stderr.write(`image ${name}: up to date\n`);
    for (const file of filesOf(name, directory)) process.stdout.write(`${file}\n`);
  }
}

interface AppOptions {
  readonly out: string;
  readonly force: boolean;
  readonly runtime?: RuntimeName;
}

async function runApp(directory: string, options: AppOptions): Promise<void> {
  const { force, runtime } = options;
  const notes: string[] = [];
  const out = resolve(options.out);
  await inStep(
    progressOn(process.stderr),
    `image of ${basename(resolve(directory))}`,
    async (step) => {
      const staged = await stageApp(resolve(directory), {
        force,
        ...(runtime !== undefined && { runtime }),
        onProgress: (text) => step.update(text),
      });
      notes.push(...staged.notes);
      step.update('writing the file system');
      const made = await packApp(staged, { force });
      await exportApp(made, out);
      return made;
    },
    (app) => `${app.bytes / 1024 / 1024} MiB`,
  );
  for (const note of notes) process.stderr.write(`note: ${note}\n`);
  process.stdout.write(`${out}\n`);
}

async function runVerify(what: ImageName | 'all', options: { out: string }): Promise<void> {
  const directory = resolve(options.out);
  const problems = await inStep(progressOn(process.stderr), 'verifying images', () =>
    verifyImages(chosen(what, directory), directory),
  );
  for (const problem of problems) process.stdout.write(`${problem}\n`);
  if (problems.length === 0) process.stdout.write('all images are as they were built\n');
  else process.exitCode = 1;
}
