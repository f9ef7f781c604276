/** `snapctr deploy`: a directory or an archive becomes a function of a running controller. */
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { badInput } from '../client/client-error.ts';
import { type Deployed, formatBytes } from '../client/deploy.ts';
import { detectName } from '../client/detection.ts';
import { FUNCTION_NAME, type FunctionSettings, mergeSettings, readSettings } from '../client/function-settings.ts';
import { moveAlias, publish } from '../client/versions.ts';
import { deployImage, readImageName } from '../client/deploy-image.ts';
import { deployDirectory, deployZip } from '../client/deploy-path.ts';
import { deployStack } from '../client/template/deploy-stack.ts';
import { applyWritten, type WrittenSettings } from '../client/written-settings.ts';
import { isTemplatePath, readTemplate } from '../client/template/template-file.ts';
import { clientAction, clientOptions, type ClientFlags, type Session } from './client-command.ts';
import { aliasName, wholeNumber } from './flags.ts';

export interface SettingsFlags {
  readonly name?: string;
  readonly runtime?: string;
  readonly handler?: string;
  readonly memory?: number;
  readonly timeout?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly description?: string;
  readonly layer?: readonly string[];
  readonly bundle?: boolean;
  readonly install: boolean;
  /** Seconds. */
  readonly wait: number;
}

interface DeployFlags extends ClientFlags, SettingsFlags {
  readonly image?: string;
  readonly publish?: true;
  readonly alias?: string;
  readonly parameter?: Readonly<Record<string, string>>;
  readonly stack?: string;
}

/** What a template says itself. */
const NOT_WITH_TEMPLATES = [
  'name',
  'runtime',
  'handler',
  'memory',
  'timeout',
  'env',
  'description',
  'layer',
  'bundle',
  'publish',
  'alias',
] as const satisfies readonly (keyof DeployFlags)[];

const EXAMPLES = `
Examples:
  $ snapctr deploy                          the directory you are in, under its name
  $ snapctr deploy hello --memory 256 --env GREETING=Hi
  $ snapctr deploy hello --alias live       publish a version, and let "live" be it
  $ snapctr deploy hello.zip --runtime python3.11 --handler app.handler
  $ snapctr deploy --image registry.example/tool:v3 --name tool
  $ snapctr deploy template.yaml --parameter Stage=test
  $ snapctr deploy cdk.out --stack Shop     what "cdk synth" made

What is not said by a flag or in DIR/function.yaml is found by the files, or stays as it is. Packages are brought by
package-lock.json, requirements.txt or pyproject.toml; TypeScript is bundled. See docs/commands.md.`;

export function registerDeployCommand(program: Command): void {
  clientOptions(settingsOptions(program.command('deploy')))
    .argument('[path]', 'directory of the function, a zip archive, a CloudFormation or SAM template, or cdk.out', '.')
    .description('make functions of a directory, a zip archive or a template, or change those there are')
    .option(
      '--image <ref>',
      "a container image: HOST/PATH:TAG, oci:DIR or docker-archive:FILE of the controller's host",
    )
    .option('--publish', 'keep what is deployed as a version')
    .option('--alias <name>', 'publish, and let the alias be that version', aliasName)
    .option(
      '--parameter <name=value>',
      "a template's parameter, or what a resource is that is not made here; repeatable",
      parameter,
    )
    .option('--stack <name>', 'the stack, where cdk.out has several')
    .addHelpText('after', EXAMPLES)
    .action(clientAction(run));
}

export function settingsOptions(command: Command): Command {
  return command
    .option('--name <name>', "the function (default: the directory's name)")
    .option('--runtime <name>', 'such as nodejs, python, python3.11 (default: by the files)')
    .option('--handler <file.function>', 'such as index.handler (default: by the files)')
    .option('--memory <mb>', 'memory of its VM, in MB', wholeNumber(128, 32_768))
    .option('--timeout <s>', 'seconds that an invocation may take', wholeNumber(1, 1800))
    .option('--env <name=value>', 'a variable of its environment; repeatable', variable)
    .option('--description <text>', 'a few words on it')
    .option('--layer <arn>', 'a layer version; repeatable, in order', (arn: string, before?: readonly string[]) => [
      ...(before ?? []),
      arn,
    ])
    .option('--bundle', 'make one file of the handler and its imports')
    .option('--no-bundle', 'leave TypeScript as it is')
    .option('--no-install', 'take packages as they lie in the directory')
    .option('--wait <s>', 'seconds that the deployment may take', wholeNumber(1, 3600), 600);
}

function variable(text: string, before: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  const [, name, value] = /^([A-Za-z][A-Za-z0-9_]*)=([^\0]*)$/s.exec(text) ?? [];
  if (name === undefined || value === undefined)
    throw new InvalidArgumentError('Expected NAME=VALUE, such as GREETING=Hi.');
  return { ...before, [name]: value };
}

export function settingsOf(flags: SettingsFlags): FunctionSettings {
  const { name, runtime, handler, memory, timeout, env, description, layer, bundle } = flags;
  if (name !== undefined && !FUNCTION_NAME.test(name)) {
    badInput(`"${name}" is no name for a function, which has 1 to 64 letters, digits, - or _; correct --name`);
  }
  return { name, runtime, handler, memory, timeout, environment: env, description, layers: layer, bundle };
}

async function run(session: Session, flags: DeployFlags, path: string): Promise<void> {
  if (flags.image !== undefined) return runImage(session, flags, flags.image, path);
  const place = resolve(path);
  const found = await stat(place).catch(() => badInput(`${path} does not exist; name a directory or a zip archive`));
  const isDirectory = found.isDirectory();
  if (isTemplatePath(place, isDirectory)) return runTemplate(session, flags, place, isDirectory);
  if (flags.parameter !== undefined || flags.stack !== undefined) {
    badInput(`${path} is no template: --parameter and --stack are for those; leave them out`);
  }
  const written = isDirectory ? readSettings(place) : {};
  const settings = mergeSettings(written, settingsOf(flags));
  const name = settings.name ?? detectName(place);
  const notes: string[] = [];
  const deployed = await session
    .step(
      `deploying ${name}`,
      async (step) => {
        const options = {
          install: flags.install,
          keepsVariables: written.environment === undefined,
          patienceMs: flags.wait * 1000,
          onProgress: (text: string) => step.update(text),
          onNote: (text: string) => void notes.push(text),
          signal: session.signal,
        };
        return isDirectory
          ? deployDirectory(session.client, place, { ...settings, name }, options)
          : deployZip(session.client, place, { ...settings, name }, options);
      },
      describeDeployed,
    )
    .finally(() => notes.forEach((text) => session.note(text)));
  await finish(session, flags, name, deployed, settings);
}

async function runImage(session: Session, flags: DeployFlags, text: string, path: string): Promise<void> {
  if (path !== '.') badInput(`--image ${text} is all of the function: leave ${path} out`);
  if (flags.parameter !== undefined || flags.stack !== undefined) badInput('--parameter and --stack are for templates');
  const image = readImageName(text);
  const settings = settingsOf(flags);
  const name = settings.name ?? image.name;
  const deployed = await session.step(
    `deploying ${name}`,
    (step) =>
      deployImage(
        session.client,
        image,
        { ...settings, name },
        {
          patienceMs: flags.wait * 1000,
          onProgress: (progress) => step.update(progress),
          signal: session.signal,
        },
      ),
    describeDeployed,
  );
  await finish(session, flags, name, deployed, {});
}

/** Publishes what was deployed if that was asked for, sets what is written beside the function, and shows it all. */
async function finish(
  session: Session,
  flags: DeployFlags,
  name: string,
  deployed: Deployed,
  written: WrittenSettings,
): Promise<void> {
  const version =
    flags.publish === true || flags.alias !== undefined
      ? await publish(session.client, name, {}, flags.wait * 1000, session.signal)
      : null;
  const alias =
    flags.alias === undefined || version === null
      ? null
      : await moveAlias(session.client, name, flags.alias, version.Version);
  const { url, schedules } = await applyWritten(
    { lambda: session.client, schedules: session.schedules },
    name,
    deployed.configuration.FunctionArn,
    written,
  );
  const { FunctionArn, Version } = version ?? deployed.configuration;
  session.print(
    {
      ...deployed,
      ...(version && { version }),
      ...(alias && { alias }),
      ...(url && { url }),
      ...(schedules && { schedules }),
    },
    [
      alias?.AliasArn ?? FunctionArn,
      ...(version === null ? [] : [`version ${Version}${alias === null ? '' : `, which is ${alias.Name} now`}`]),
      ...(url === null ? [] : [url.FunctionUrl]),
      ...(schedules === null || schedules.set.length === 0 ? [] : [`schedules set: ${schedules.set.join(', ')}`]),
      ...(schedules === null || schedules.removed.length === 0
        ? []
        : [`schedules removed: ${schedules.removed.join(', ')}`]),
    ],
  );
  if (!session.json) process.stderr.write(`try it: snapctr invoke ${name}${alias === null ? '' : `:${alias.Name}`}\n`);
}

async function runTemplate(session: Session, flags: DeployFlags, place: string, isDirectory: boolean): Promise<void> {
  const wrong = NOT_WITH_TEMPLATES.find((name) => flags[name] !== undefined);
  if (wrong !== undefined) badInput(`a template says itself what --${wrong} would; change it there`);
  const template = readTemplate(place, isDirectory, flags.stack);
  const deployed = await deployStack(session.client, session.schedules, template, {
    given: flags.parameter ?? {},
    install: flags.install,
    patienceMs: flags.wait * 1000,
    step: (name, work, describe) => session.step(name, (step) => work((text) => step.update(text)), describe),
    signal: session.signal,
  });
  deployed.notes.forEach((text) => session.note(text));
  const { functions, aliases, urls } = deployed;
  session.print(deployed, [
    ...functions.map(({ configuration }) => configuration.FunctionArn),
    ...aliases.map(({ AliasArn, FunctionVersion }) => `${AliasArn ?? ''}, which is version ${FunctionVersion}`),
    ...urls.map(({ FunctionUrl }) => FunctionUrl),
    ...deployed.schedules.map(({ functionName, name }) => `schedule ${name} of ${functionName}`),
    ...deployed.eventSources.map(({ UUID, EventSourceArn }) => `event source ${UUID}, ${EventSourceArn}`),
  ]);
}

function parameter(text: string, before: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  const [, name, value] = /^([A-Za-z0-9.]+)=(.*)$/s.exec(text) ?? [];
  if (name === undefined || value === undefined)
    throw new InvalidArgumentError('Expected NAME=VALUE, such as Stage=test.');
  return { ...before, [name]: value };
}

export function describeDeployed({ change, configuration: { CodeSize, Runtime, Handler } }: Deployed): string {
  const what = [Runtime, Handler, formatBytes(CodeSize ?? 0)].filter((part) => part !== undefined).join(', ');
  return `${change} (${what})`;
}
