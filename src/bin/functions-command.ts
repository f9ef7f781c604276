/** `snapctr list`, `describe`, `versions`, `publish`, `rollback`, `delete` and `alias …`: functions of a running controller. */
import { type Command, InvalidArgumentError } from 'commander';
import type { Alias, FunctionConfiguration } from '../client/answers.ts';
import { badInput } from '../client/client-error.ts';
import { formatBytes } from '../client/deploy.ts';
import { collect, moveAlias, publish, publishedVersions, rollBack, rollBackAlias } from '../client/versions.ts';
import { clientAction, clientOptions, table, type ClientFlags } from './client-command.ts';
import { describeDeployed } from './deploy-command.ts';
import { aliasName, notEmpty, wholeNumber } from './flags.ts';

interface QualifierFlags extends ClientFlags {
  readonly qualifier?: string;
}

interface WaitFlags extends ClientFlags {
  /** Seconds. */
  readonly wait: number;
  readonly description?: string;
}

interface RollbackFlags extends WaitFlags {
  readonly to?: string;
  readonly alias?: string;
}

interface AliasFlags extends ClientFlags {
  readonly weight?: Readonly<Record<string, number>>;
  readonly description?: string;
}

const ALIAS_EXAMPLES = `
Examples:
  $ snapctr alias set hello live 2
  $ snapctr alias set hello live 2 --weight 3=0.1    every tenth invocation gets version 3
  $ snapctr invoke hello:live
  $ snapctr rollback hello --alias live`;

export function registerFunctionsCommands(program: Command): void {
  clientOptions(program.command('list'))
    .description('show the functions')
    .action(
      clientAction(async (session) => {
        const functions = await collect(session.client.listFunctions());
        session.print(functions, functions.length === 0 ? [] : table([HEADING, ...functions.map(row)]));
        if (functions.length === 0 && !session.json)
          session.note('there are no functions yet; make one with "snapctr deploy DIR"');
      }),
    );
  named(program, 'describe', 'show all that is known of a function')
    .option('--qualifier <version>', 'of a version or an alias', notEmpty)
    .action(
      clientAction(async (session, { qualifier }: QualifierFlags, name: string) => {
        const found = await session.client.getFunction(name, qualifier);
        session.print(found, describe(found.Configuration));
      }),
    );
  named(program, 'versions', 'show the versions of a function that are kept, and the aliases that name them').action(
    clientAction(async (session, _flags: ClientFlags, name: string) => {
      const versions = await collect(session.client.listVersions(name));
      const aliases = await collect(session.client.listAliases(name));
      session.print(
        { versions, aliases },
        table([VERSION_HEADING, ...versions.map((one) => versionRow(one, aliases))]),
      );
    }),
  );
  waiting(named(program, 'publish', 'keep what is deployed as a version'))
    .option('--description <text>', 'a few words on it')
    .action(
      clientAction(async (session, { wait, description }: WaitFlags, name: string) => {
        const members = description === undefined ? {} : { Description: description };
        const version = await publish(session.client, name, members, wait * 1000, session.signal);
        session.print(version, [version.FunctionArn]);
      }),
    );
  waiting(named(program, 'rollback', 'deploy again what a version was, or have an alias name the version before'))
    .option('--to <version>', 'which (default: the newest that is other than what is deployed)')
    .option('--alias <name>', 'change this alias, and nothing that is deployed', aliasName)
    .action(
      clientAction(async (session, { to, alias, wait }: RollbackFlags, name: string) => {
        if (alias !== undefined) {
          const moved = await rollBackAlias(session.client, name, alias, to);
          return session.print(moved, [`${name}:${alias} is version ${moved.FunctionVersion} now`]);
        }
        const done = await session.step(
          `rolling ${name} back`,
          (step) =>
            rollBack(session.client, name, to, {
              patienceMs: wait * 1000,
              onProgress: (text) => step.update(text),
              signal: session.signal,
            }),
          describeDeployed,
        );
        session.print(done, [`${name} is as version ${done.version} was`]);
      }),
    );
  named(program, 'delete', 'remove a function with its versions and aliases, or one version')
    .option('--qualifier <version>', 'only this version', notEmpty)
    .action(
      clientAction(async (session, { qualifier }: QualifierFlags, name: string) => {
        await session.client.deleteFunction(name, qualifier);
        const what = qualifier === undefined ? name : `version ${qualifier} of ${name}`;
        session.print({ deleted: name, version: qualifier ?? null }, [`deleted ${what}`]);
      }),
    );
  registerAlias(program);
}

function registerAlias(program: Command): void {
  const alias = program
    .command('alias')
    .description('set, list and remove aliases: names for versions')
    .addHelpText('after', ALIAS_EXAMPLES);
  named(alias, 'set', 'make an alias, or have it name another version')
    .argument('<alias>', 'its name', aliasName)
    .argument('<version>')
    .option('--weight <version=share>', 'a share of the invocations for another version, such as 3=0.1', weight)
    .option('--description <text>', 'a few words on it')
    .action(
      clientAction(async (session, flags: AliasFlags, name: string, word: string, version: string) => {
        if (!/^(\d+|\$LATEST)$/.test(version)) await refuseVersion(session.client, name, version);
        const made = await moveAlias(session.client, name, word, version, flags.weight, flags.description);
        session.print(made, [`${name}:${made.Name} is ${shown(made)}`]);
      }),
    );
  named(alias, 'list', "show a function's aliases").action(
    clientAction(async (session, _flags: ClientFlags, name: string) => {
      const aliases = await collect(session.client.listAliases(name));
      session.print(
        aliases,
        aliases.map((one) => `${one.Name}: ${shown(one)}${one.Description ? `  ${one.Description}` : ''}`),
      );
    }),
  );
  named(alias, 'remove', 'remove an alias; the version stays')
    .argument('<alias>', 'its name', aliasName)
    .action(
      clientAction(async (session, _flags: ClientFlags, name: string, word: string) => {
        // Deleting says nothing of one that is not there.
        await session.client.getAlias(name, word);
        await session.client.deleteAlias(name, word);
        session.print({ deleted: word, function: name }, [`removed ${name}:${word}`]);
      }),
    );
}

async function refuseVersion(
  client: Parameters<typeof publishedVersions>[0],
  name: string,
  version: string,
): Promise<never> {
  const versions = (await publishedVersions(client, name)).map(({ Version }) => Version);
  const kept =
    versions.length === 0
      ? `${name} has none yet; make one with "snapctr publish ${name}"`
      : `${name} has ${versions.join(', ')}`;
  return badInput(`"${version}" is no version, which is a number or $LATEST; ${kept}`);
}

function named(program: Command, name: string, description: string): Command {
  return clientOptions(program.command(name)).argument('<name>', 'the function', notEmpty).description(description);
}

function waiting(command: Command): Command {
  return command.option('--wait <s>', 'seconds that it may take', wholeNumber(1, 3600), 600);
}

function weight(text: string, before: Readonly<Record<string, number>> = {}): Readonly<Record<string, number>> {
  const [, version, share] = /^(\d+)=(0(?:\.\d+)?|1(?:\.0+)?)$/.exec(text) ?? [];
  if (version === undefined)
    throw new InvalidArgumentError('Expected VERSION=SHARE with a share from 0 to 1, such as 3=0.1.');
  return { ...before, [version]: Number(share) };
}

const HEADING = ['NAME', 'RUNTIME', 'HANDLER', 'MEMORY', 'TIMEOUT', 'SIZE', 'CHANGED'];

function row({
  FunctionName,
  Runtime,
  Handler,
  MemorySize,
  Timeout,
  CodeSize,
  LastModified,
}: FunctionConfiguration): readonly string[] {
  const memory = MemorySize === undefined ? '' : `${MemorySize} MB`;
  const timeout = Timeout === undefined ? '' : `${Timeout} s`;
  return [FunctionName, Runtime ?? '', Handler ?? '', memory, timeout, formatBytes(CodeSize ?? 0), time(LastModified)];
}

const VERSION_HEADING = ['VERSION', 'ALIASES', 'CHANGED', 'CODE', 'DESCRIPTION'];

function versionRow(one: FunctionConfiguration, aliases: readonly Alias[]): readonly string[] {
  const { Version, LastModified, CodeSha256, Description } = one;
  const names = aliases.filter(({ FunctionVersion }) => FunctionVersion === Version).map(({ Name }) => Name);
  return [Version, names.join(','), time(LastModified), (CodeSha256 ?? '').slice(0, 8), Description ?? ''];
}

function describe(found: FunctionConfiguration): readonly string[] {
  const variables = Object.entries(found.Environment?.Variables ?? {});
  const lines: readonly (readonly [string, string | undefined])[] = [
    ['name', found.FunctionName],
    ['arn', found.FunctionArn],
    ['version', found.Version],
    ['description', found.Description],
    ['state', withReason(found.State, found.StateReason)],
    ['last update', withReason(found.LastUpdateStatus, found.LastUpdateStatusReason)],
    ['runtime', found.Runtime],
    ['handler', found.Handler],
    ['memory', found.MemorySize === undefined ? undefined : `${found.MemorySize} MB`],
    ['timeout', found.Timeout === undefined ? undefined : `${found.Timeout} s`],
    [
      'code',
      found.CodeSize === undefined ? undefined : `${formatBytes(found.CodeSize)}, sha256 ${found.CodeSha256 ?? ''}`,
    ],
    ['layers', (found.Layers ?? []).map(({ Arn }) => Arn).join(', ')],
    ['environment', variables.map(([name, value]) => `${name}=${value}`).join(' ')],
    ['changed', found.LastModified],
  ];
  return lines.flatMap(([key, value]) =>
    value === undefined || value === '' ? [] : [`${`${key}:`.padEnd(13)} ${value}`],
  );
}

function withReason(state: string | undefined, reason: string | undefined): string | undefined {
  return state === undefined || reason === undefined || reason === '' ? state : `${state} (${reason})`;
}

function shown({ FunctionVersion, RoutingConfig }: Alias): string {
  const others = Object.entries(RoutingConfig?.AdditionalVersionWeights ?? {});
  return [
    `version ${FunctionVersion}`,
    ...others.map(([version, share]) => `${share * 100} % version ${version}`),
  ].join(', ');
}

/** To the minute, in the user's own time. */
function time(text: string | undefined): string {
  const date = new Date(text ?? NaN);
  return Number.isNaN(date.getTime()) ? (text ?? '') : date.toLocaleString('sv').slice(0, 16);
}
