/** The controller, and the commands around it. */
import { Command, Option } from 'commander';
import { EXIT_OK, EXIT_USAGE } from '../controller/exit-status.ts';
import { LOG_LEVELS } from '../controller/log-levels.ts';
import type { SnapctrFlags } from '../controller/run.ts';
import { SMALLEST_VM_MIB, VMM_NAMES } from '../protocol/vmms.ts';
import {
  acceptBothSpellings,
  AUDIT_HELP,
  KEYS_HELP,
  origins,
  packageVersion,
  seconds,
  tellingUsage,
  wholeNumber,
} from './flags.ts';

type Register = (program: Command) => void;

/** Who brings which commands, in the order of `--help`. Reading all of it takes longer than most of them take to run. */
const MODULES: readonly (readonly [names: readonly string[], load: () => Promise<Register>])[] = [
  [['deploy'], async () => (await import('./deploy-command.ts')).registerDeployCommand],
  [['dev', 'init'], async () => (await import('./dev-command.ts')).registerDevCommands],
  [['invoke'], async () => (await import('./invoke-command.ts')).registerInvokeCommand],
  [
    ['list', 'describe', 'versions', 'publish', 'rollback', 'delete', 'alias'],
    async () => (await import('./functions-command.ts')).registerFunctionsCommands,
  ],
  [['logs'], async () => (await import('./logs-command.ts')).registerLogsCommand],
  [['top'], async () => (await import('./top-command.ts')).registerTopCommand],
  [['events'], async () => (await import('./events-command.ts')).registerEventsCommands],
  [['workload', 'replay'], async () => (await import('./workload-command.ts')).registerWorkloadCommands],
  [['simulate'], async () => (await import('./simulate-command.ts')).registerSimulateCommand],
  [['schedule'], async () => (await import('./schedule-command.ts')).registerScheduleCommands],
  [['explain'], async () => (await import('./explain-command.ts')).registerExplainCommand],
  [['images'], async () => (await import('../images/command.ts')).registerImagesCommand],
  [['snapshots'], async () => (await import('./snapshots-command.ts')).registerSnapshotsCommand],
  [['network'], async () => (await import('./network-command.ts')).registerNetworkCommand],
  [['keys'], async () => (await import('./keys-command.ts')).registerKeysCommand],
  [['doctor'], async () => (await import('./doctor-command.ts')).registerDoctorCommand],
  [['completion'], async () => (await import('./completion-command.ts')).registerCompletionCommand],
];
const NAMES = MODULES.flatMap(([names]) => names);
/** Tell of all commands. */
const OF_ALL: readonly string[] = ['help', '-h', '--help', 'completion'];

/** Those that a command line may mean. One that names none and has no word in front is the controller's. */
function modulesFor(words: readonly string[]): typeof MODULES {
  const [first = '-'] = words;
  const named = MODULES.filter(([names]) => names.some((name) => words.includes(name)));
  return OF_ALL.includes(first) || (named.length === 0 && !first.startsWith('-')) ? MODULES : named;
}

const program: Command = new Command('snapctr')
  .description('Takes requests and runs each in a virtual machine that has the requested function loaded.')
  .version(packageVersion())
  .enablePositionalOptions()
  .configureOutput({ outputError: (text, write) => write(tellingUsage(program, NAMES, text)) })
  .option('-c, --config <file>', 'controller configuration (YAML); see docs/config.md')
  .option(
    '--mem <mb>',
    'memory for all VMs together, in MB; one worker starts for each 128',
    wholeNumber(SMALLEST_VM_MIB),
  )
  .option('-p, --port <n>', 'take requests over HTTP on this port; 0 picks a free one', wholeNumber(0, 65_535))
  .option('--requests_file <file>', 'take requests from a file of JSON lines, paced by their "time"')
  .option('--host <address>', 'address to listen on', '127.0.0.1')
  .option(
    '--allow-origin <origin>',
    'web pages that may send requests, such as http://localhost:3000; repeatable',
    origins,
    [],
  )
  .option('--keys <file>', KEYS_HELP)
  .option('--tls-cert <file>', 'certificate in PEM: requests come over TLS; read anew when it changes')
  .option('--tls-key <file>', 'its key in PEM')
  .option('--insecure', 'let others than this machine run functions without keys')
  .option('--audit-log <file>', AUDIT_HELP)
  .option('--output <file>', 'where result lines of a request file go (default: stdout)')
  .option('--vm-records <file>', 'add a JSON line there for each VM that has ended: its launch, uses and end')
  .addOption(new Option('--vmm <name>', 'what runs the VMs').choices(['auto', ...VMM_NAMES]).default('auto'))
  .addOption(
    new Option('--accel <name>', 'how QEMU runs the guests; auto: what was proved to work')
      .choices(['auto', 'kvm', 'tcg'])
      .default('auto'),
  )
  .addOption(new Option('--log-level <level>', 'least level that is logged').choices(LOG_LEVELS).default('info'))
  .option('--drain-timeout <s>', 'seconds that running requests get to finish after the first SIGTERM', seconds, 30)
  .option('--boot-timeout <s>', 'seconds from the launch of a VM to its loaded function', seconds, 60)
  .option('--watch', 'read the configuration and directories of functions again when they change; SIGHUP does it once')
  .option(
    '--data-dir <directory>',
    'directory of what is made over the API (default: $XDG_DATA_HOME/snapfaas); one snapctr at a time',
  )
  .option('--strict', 'do not start if a function of the configuration cannot run')
  .option('--no-snapshots', 'boot every VM instead of restoring it from a snapshot of its function')
  .addHelpText(
    'after',
    `
Examples:
  Serve the example functions over HTTP, with 1 GB for VMs:
    $ snapctr --config resources/controller.yaml --mem 1024 --port 8080
    $ curl -s http://127.0.0.1:8080/ -H 'content-type: application/json' \\
        -d '{"function": "hello-python", "payload": {"name": "Ada"}}'
  Run a file of requests and keep the results:
    $ snapctr -c resources/controller.yaml --mem 1024 \\
        --requests_file resources/example_requests.json --output results.jsonl
  Without virtual machines, for developing on any system:
    $ snapctr -c resources/controller.yaml --mem 1024 -p 8080 --vmm process

Each option is also understood with - for _ and the other way round. SIGTERM or SIGINT drains, a second one ends at once.
Exit status: 0 all well; 1 a request of the file failed or the run broke off; 2 bad command line or configuration.
`,
  )
  .action(async ({ config, mem, ...others }: Partial<SnapctrFlags> & Omit<SnapctrFlags, 'config' | 'mem'>) => {
    // Not `requiredOption`: the subcommands need neither.
    if (config === undefined) program.error("error: required option '-c, --config <file>' not specified");
    if (mem === undefined) program.error("error: required option '--mem <mb>' not specified");
    const flags = { ...others, config, mem };
    const { runController } = await import('../controller/run.ts');
    process.exitCode = await runController(flags);
  });

program.exitOverride((error) => process.exit(error.exitCode === 0 ? EXIT_OK : EXIT_USAGE));
for (const [, load] of modulesFor(process.argv.slice(2))) (await load())(program);
await program.parseAsync(acceptBothSpellings(program, process.argv));
process.exit();
