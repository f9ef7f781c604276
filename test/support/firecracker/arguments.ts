/** Runs in the fake Firecracker. Its command line, by the table of v1.16; anything else ends it with status 153. */

export const ExitStatus = { ok: 0, general: 1, memoryLost: 149, badConfiguration: 152, badArguments: 153 } as const;

const INSTANCE_ID = /^[A-Za-z0-9-]{1,64}$/;

/** Flags, and whether each takes a value. */
const FLAGS: Readonly<Record<string, boolean>> = {
  'api-sock': true,
  id: true,
  'seccomp-filter': true,
  'no-seccomp': false,
  'start-time-us': true,
  'start-time-cpu-us': true,
  'parent-cpu-time-us': true,
  'config-file': true,
  metadata: true,
  'no-api': false,
  'log-path': true,
  level: true,
  module: true,
  'show-level': false,
  'show-log-origin': false,
  'metrics-path': true,
  'boot-timer': false,
  help: false,
  version: false,
  'snapshot-version': false,
  'describe-snapshot': true,
  'http-api-max-payload-size': true,
  'mmds-size-limit': true,
  'enable-pci': false,
};
const LEVELS: ReadonlySet<string> = new Set(['off', 'trace', 'debug', 'info', 'warn', 'warning', 'error']);

export class ArgumentError extends Error {
  override readonly name = 'ArgumentError';
  readonly status: number;

  constructor(message: string, status: number = ExitStatus.badArguments) {
    super(message);
    this.status = status;
  }
}

export interface FirecrackerArguments {
  readonly apiSocket: string;
  readonly id: string;
  readonly logPath: string | null;
  /** False: only warnings and errors are logged, of which the fake has none. */
  readonly logsInfo: boolean;
  readonly metricsPath: string | null;
  readonly maxBodyBytes: number;
  /** Prints one thing and ends; null: serves the API. */
  readonly question: 'version' | 'snapshot-version' | { readonly describe: string } | null;
}

/** @throws ArgumentError; a bad `--id` is checked by the caller (`isInstanceId`), for it panics. */
export function parseArguments(argv: readonly string[]): FirecrackerArguments {
  const given = new Map<string, string>();
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at] ?? '';
    const name = word.replace(/^--/, '');
    const takesValue = word.startsWith('--') && Object.hasOwn(FLAGS, name) ? FLAGS[name] : undefined;
    if (takesValue === undefined) throw new ArgumentError(`Found argument '${word}' which wasn't expected.`);
    if (given.has(name)) throw new ArgumentError(`The argument '${name}' was provided more than once.`);
    const value = takesValue ? argv[++at] : '';
    if (value === undefined || (takesValue && value.startsWith('--'))) {
      throw new ArgumentError(`The argument '${name}' requires a value, but none was supplied.`);
    }
    given.set(name, value);
  }
  if (given.has('no-seccomp') && given.has('seccomp-filter')) {
    throw new ArgumentError("Argument 'no-seccomp' cannot be used together with argument 'seccomp-filter'.");
  }
  for (const name of ['config-file', 'no-api', 'metadata', 'seccomp-filter', 'help']) {
    if (given.has(name)) throw new ArgumentError(`The fake does not know what to do with '--${name}'.`);
  }
  const level = given.get('level');
  if (level !== undefined && !LEVELS.has(level.toLowerCase())) {
    throw new ArgumentError(`Invalid value for logger level: ${level}.`, ExitStatus.badConfiguration);
  }
  const limit = given.get('http-api-max-payload-size') ?? '51200';
  if (!/^\d+$/.test(limit)) throw new ArgumentError(`'http-api-max-payload-size' is no number: ${limit}.`);
  return {
    apiSocket: given.get('api-sock') ?? '/run/firecracker.socket',
    id: given.get('id') ?? 'anonymous-instance',
    logPath: given.get('log-path') ?? null,
    logsInfo: ['trace', 'debug', 'info'].includes(level?.toLowerCase() ?? 'info'),
    metricsPath: given.get('metrics-path') ?? null,
    maxBodyBytes: Number(limit),
    question: questionOf(given),
  };
}

function questionOf(given: ReadonlyMap<string, string>): FirecrackerArguments['question'] {
  if (given.has('version')) return 'version';
  if (given.has('snapshot-version')) return 'snapshot-version';
  const describe = given.get('describe-snapshot');
  return describe === undefined ? null : { describe };
}

export function isInstanceId(id: string): boolean {
  return INSTANCE_ID.test(id);
}
