/** `snapctr keys …`: who may use a controller's gateway. */
import { userInfo } from 'node:os';
import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { AuditLog } from '../auth/audit-log.ts';
import { addKey, KeyFileError, readKeyFile, removeKey, type Key } from '../auth/key-file.ts';
import { keyFileOf, KEYS_VARIABLE } from '../auth/key-place.ts';
import { ROLES, type Role } from '../auth/operations.ts';
import { EXIT_FAILED, EXIT_USAGE } from '../controller/exit-status.ts';
import { KEYS_HELP } from './flags.ts';

interface PlaceFlags {
  readonly config?: string;
  readonly keys?: string;
  readonly auditLog?: string;
  readonly json?: true;
}

interface AddFlags extends PlaceFlags {
  readonly role: Role;
  readonly functions?: readonly string[];
}

const EXAMPLES = `
Examples:
  $ snapctr keys add ci --role deploy -c resources/controller.yaml
  $ snapctr keys add shop --role invoke --functions 'shop-*' checkout -c resources/controller.yaml
  $ snapctr keys list -c resources/controller.yaml
  $ snapctr keys remove shop -c resources/controller.yaml

Roles: invoke runs functions and reads /metrics; deploy also reads and changes functions; admin does all.
A key is an access key id and a secret, for AWS's tools, or for "Authorization: Bearer ID.SECRET". The file has the secrets
themselves: whoever reads it can do all that its keys can. A controller that runs takes changes within a second.`;

/** Adds `keys` with its subcommands. */
export function registerKeysCommand(program: Command): void {
  const keys = program
    .command('keys')
    .description('make, list and remove the keys that callers of the gateway need')
    .addHelpText('after', EXAMPLES);
  const placed = (command: Command): Command =>
    command
      .option('-c, --config <file>', 'configuration of the controller: keys.json beside it')
      .option('--keys <file>', KEYS_HELP)
      .option('--json', 'as JSON');
  const changing = (command: Command): Command =>
    placed(command).option('--audit-log <file>', 'file to which a line is added for each change');

  changing(keys.command('add'))
    .argument('<name>', 'what people call it')
    .addOption(new Option('--role <role>', 'what it may do').choices(ROLES).makeOptionMandatory())
    .option('--functions <pattern...>', 'functions that it is for, with * for any characters (default: all)')
    .description('make a key, and show its secret')
    .action(tellingFailures(add));
  placed(keys.command('list'))
    .description('show the keys, without their secrets')
    .action(tellingFailures((flags: PlaceFlags) => list(flags)));
  changing(keys.command('remove'))
    .argument('<name or id>')
    .description('remove a key: from then on it is refused')
    .action(tellingFailures(remove));
}

function tellingFailures<Args extends readonly unknown[]>(action: (...args: Args) => Promise<void> | void) {
  return async (...args: Args): Promise<void> => {
    try {
      await action(...args);
    } catch (error) {
      if (!(error instanceof KeyFileError)) throw error;
      process.stderr.write(`snapctr: ${error.message}\n`);
      process.exitCode = EXIT_FAILED;
    }
  };
}

async function add(name: string, { role, functions = ['*'], ...flags }: AddFlags): Promise<void> {
  const path = placeOf(flags);
  const key = await addKey(path, { name, role, functions });
  audit(flags, 'keys.add', key, path);
  if (flags.json === true) return show({ ...key, file: path });
  process.stdout.write(
    [
      `access key id:     ${key.id}`,
      `secret access key: ${key.secret}`,
      '',
      'For AWS tools:',
      `  export AWS_ACCESS_KEY_ID=${key.id} AWS_SECRET_ACCESS_KEY=${key.secret}`,
      'Without them:',
      `  curl -H 'authorization: Bearer ${key.id}.${key.secret}' …`,
      '',
    ].join('\n'),
  );
  process.stderr.write(`the key is in ${path}, and holds within a second\n`);
}

function list(flags: PlaceFlags): void {
  const path = placeOf(flags);
  const keys = readKeyFile(path);
  if (keys === null) throw new KeyFileError(`there is no file of keys ${path}; "snapctr keys add" makes it`);
  const shown = keys.map(withoutSecret);
  if (flags.json === true) return show(shown);
  for (const { id, name, role, functions, created } of shown) {
    process.stdout.write(
      `${id}  ${name.padEnd(20)} ${role.padEnd(6)}  ${created.slice(0, 10)}  ${functions.join(' ')}\n`,
    );
  }
}

async function remove(nameOrId: string, flags: PlaceFlags): Promise<void> {
  const path = placeOf(flags);
  const key = await removeKey(path, nameOrId);
  audit(flags, 'keys.remove', key, path);
  if (flags.json === true) return show(withoutSecret(key));
  process.stdout.write(`removed ${key.id} (${key.name})\n`);
}

function placeOf({ keys, config }: PlaceFlags): string {
  const named = keys ?? process.env[KEYS_VARIABLE] ?? '';
  if (named === '' && config === undefined) {
    process.stderr.write('snapctr: give --config FILE of the controller, or --keys FILE\n');
    process.exit(EXIT_USAGE);
  }
  return keyFileOf(keys, config ?? '').path;
}

/** Without `--audit-log` it is in the log of the controller, when that takes the change. */
function audit({ auditLog }: PlaceFlags, action: string, key: Key, file: string): void {
  if (auditLog === undefined) return;
  const { username, uid } = userInfo();
  const failed = (problem: unknown): void => void process.stderr.write(`snapctr: ${String(problem)}\n`);
  const log = new AuditLog(resolve(auditLog), ({ auditProblem }) => failed(auditProblem));
  log.write({ action, by: `${username} (uid ${uid})`, key: withoutSecret(key), file });
}

function withoutSecret({ id, name, role, functions, created }: Key): Omit<Key, 'secret'> {
  return { id, name, role, functions, created };
}

function show(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}
