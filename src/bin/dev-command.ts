/** `snapctr dev`: a directory is deployed again whenever it is saved. `snapctr init`: one to begin with. */
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Argument, type Command } from 'commander';
import { badInput } from '../client/client-error.ts';
import { deployDirectory } from '../client/deploy-path.ts';
import { detectName } from '../client/detection.ts';
import { develop } from '../client/dev-loop.ts';
import { mergeSettings, readSettings } from '../client/function-settings.ts';
import { applyWritten } from '../client/written-settings.ts';
import { copyTemplate, TEMPLATE_NAMES, type TemplateName } from '../client/templates.ts';
import {
  clientAction,
  clientOptions,
  describeFailure,
  EXIT,
  type ClientFlags,
  type Session,
} from './client-command.ts';
import { describeDeployed, settingsOf, settingsOptions, type SettingsFlags } from './deploy-command.ts';

const INIT_EXAMPLES = `
Examples:
  $ snapctr init typescript-web shop
  $ cd shop && snapctr dev`;

export function registerDevCommands(program: Command): void {
  clientOptions(settingsOptions(program.command('dev')))
    .argument('[dir]', 'directory of the function', '.')
    .description('deploy a directory, and again whenever it changes; ends by Ctrl-C')
    .action(clientAction(dev));
  program
    .command('init')
    .addArgument(new Argument('<template>', 'what to begin with').choices(TEMPLATE_NAMES))
    .argument('[dir]', 'a new directory (default: named as the template)')
    .option('--json', 'the result as JSON')
    .description('make a directory with a function to begin with')
    .addHelpText('after', INIT_EXAMPLES)
    .action(clientAction(init));
}

async function dev(session: Session, flags: ClientFlags & SettingsFlags, path: string): Promise<void> {
  const directory = resolve(path);
  const found = await stat(directory).catch(() => badInput(`${path} does not exist; name a directory`));
  if (!found.isDirectory()) badInput(`${path} is no directory; name the one that the function is in`);
  const deploy = async (): Promise<void> => {
    // Anew each time: it may be what was changed.
    const written = readSettings(directory);
    const settings = mergeSettings(written, settingsOf(flags));
    const name = settings.name ?? detectName(directory);
    const notes: string[] = [];
    const deployed = await session.step(
      `deploying ${name}`,
      (step) =>
        deployDirectory(
          session.client,
          directory,
          { ...settings, name },
          {
            install: flags.install,
            keepsVariables: written.environment === undefined,
            patienceMs: flags.wait * 1000,
            onProgress: (text) => step.update(text),
            onNote: (text) => void notes.push(text),
            signal: session.signal,
          },
        ),
      describeDeployed,
    );
    notes.forEach((text) => session.note(text));
    const { url } = await applyWritten(
      { lambda: session.client, schedules: session.schedules },
      name,
      deployed.configuration.FunctionArn,
      settings,
    );
    if (session.json) session.print({ ...deployed, ...(url && { url }) }, []);
    else process.stdout.write(`${name} is ready: ${url?.FunctionUrl ?? `snapctr invoke ${name}`}\n`);
  };
  await develop(directory, {
    deploy,
    onFailure: (error) => {
      process.stderr.write(`error: ${describeFailure(error)}\nwhat was deployed before goes on; save to try again\n`);
    },
    onProblem: (text) => session.note(text),
    signal: session.signal,
  });
  // Only Ctrl-C, or a signal like it, ends it.
  process.exitCode = EXIT.interrupted;
}

async function init(
  session: Session,
  _flags: ClientFlags,
  template: string,
  directory: string | undefined,
): Promise<void> {
  const place = directory ?? template;
  const files = await copyTemplate(template as TemplateName, place);
  session.print({ directory: resolve(place), files }, [`made ${place}: ${files.join(', ')}`]);
  if (!session.json) process.stderr.write(`deploy it: snapctr deploy ${place}\n`);
}
