/** Runs in the fake jailer. Its command line, by the table of v1.16. */
import { isInstanceId } from './arguments.ts';

type Kind = 'value' | 'values' | 'flag';

const FLAGS: Readonly<Record<string, Kind>> = {
  id: 'value',
  'exec-file': 'value',
  uid: 'value',
  gid: 'value',
  'chroot-base-dir': 'value',
  netns: 'value',
  daemonize: 'flag',
  'new-pid-ns': 'flag',
  cgroup: 'values',
  'resource-limit': 'values',
  'cgroup-version': 'value',
  'parent-cgroup': 'value',
  version: 'flag',
};
const REQUIRED = ['id', 'exec-file', 'uid', 'gid'] as const;
const DEFAULT_OPEN_FILES = 2048;

export interface JailerArguments {
  readonly id: string;
  readonly execFile: string;
  readonly uid: number;
  readonly gid: number;
  readonly chrootBase: string;
  readonly netns: string | null;
  readonly cgroupVersion: 1 | 2;
  readonly cgroups: readonly { readonly file: string; readonly value: string }[];
  readonly parentCgroup: string | null;
  /** Null: no limit. */
  readonly maxFileBytes: number | null;
  readonly maxOpenFiles: number;
  readonly extra: readonly string[];
}

export class JailerError extends Error {
  override readonly name = 'JailerError';
}

/** @returns 'version' if that is all that was asked. @throws JailerError */
export function parseJailerArguments(argv: readonly string[]): JailerArguments | 'version' {
  const given = collect(argv);
  if (given.values.has('version')) return 'version';
  const value = (name: string): string => given.values.get(name)?.at(-1) ?? '';
  for (const name of REQUIRED) {
    if (!given.values.has(name)) throw new JailerError(`Argument '${name}' required, but not found.`);
  }
  for (const name of ['daemonize', 'new-pid-ns']) {
    if (given.values.has(name)) throw new JailerError(`fake: '--${name}' cuts the process off from its starter`);
  }
  if (!isInstanceId(value('id'))) throw new JailerError(`Invalid instance ID: ${value('id')}`);
  const cgroupVersion = given.values.has('cgroup-version') ? value('cgroup-version') : '1';
  // Without limits nobody asks for the version.
  if (given.values.has('cgroup') && cgroupVersion !== '1' && cgroupVersion !== '2') {
    throw new JailerError(`${cgroupVersion} is an invalid cgroup version specifier`);
  }
  const parentCgroup = given.values.has('parent-cgroup') ? value('parent-cgroup') : null;
  if (parentCgroup !== null && !/^(?!\.{1,2}(\/|$))[^/]+(\/(?!\.{1,2}(\/|$))[^/]+)*$/.test(parentCgroup)) {
    throw new JailerError("Parent cgroup path is invalid. Path should not be absolute or contain '..' or '.'");
  }
  const limits = resourceLimits(given.values.get('resource-limit') ?? []);
  return {
    id: value('id'),
    execFile: value('exec-file'),
    uid: idNumber('uid', value('uid')),
    gid: idNumber('gid', value('gid')),
    chrootBase: given.values.has('chroot-base-dir') ? value('chroot-base-dir') : '/srv/jailer',
    netns: given.values.has('netns') ? value('netns') : null,
    cgroupVersion: cgroupVersion === '2' ? 2 : 1,
    cgroups: (given.values.get('cgroup') ?? []).map(cgroupSetting),
    parentCgroup,
    maxFileBytes: limits.get('fsize') ?? null,
    maxOpenFiles: limits.get('no-file') ?? DEFAULT_OPEN_FILES,
    extra: given.extra,
  };
}

function collect(argv: readonly string[]): { values: Map<string, string[]>; extra: readonly string[] } {
  const end = argv.indexOf('--');
  const own = end < 0 ? argv : argv.slice(0, end);
  const values = new Map<string, string[]>();
  for (let at = 0; at < own.length; at++) {
    const word = own[at] ?? '';
    const name = word.replace(/^--/, '');
    const kind = word.startsWith('--') && Object.hasOwn(FLAGS, name) ? FLAGS[name] : undefined;
    if (kind === undefined) throw new JailerError(`Found argument '${word}' which wasn't expected.`);
    const before = values.get(name) ?? [];
    if (before.length > 0 && kind !== 'values') throw new JailerError(`The argument '${name}' was provided twice.`);
    const value = kind === 'flag' ? '' : own[++at];
    if (value === undefined || value.startsWith('--'))
      throw new JailerError(`The argument '${name}' requires a value.`);
    values.set(name, [...before, value]);
  }
  return { values, extra: end < 0 ? [] : argv.slice(end + 1) };
}

function idNumber(name: string, text: string): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || number > 0xffff_ffff) throw new JailerError(`Invalid ${name}: ${text}`);
  return number;
}

function cgroupSetting(text: string): { file: string; value: string } {
  const [file = '', value = '', ...more] = text.split('=');
  if (value === '' || more.length > 0) throw new JailerError(`Invalid format for cgroups: ${text}`);
  if (!/^[a-z0-9_]+\.[^./]+$/.test(file)) throw new JailerError(`Cgroup invalid file: ${file}`);
  return { file, value };
}

function resourceLimits(texts: readonly string[]): ReadonlyMap<string, number> {
  const limits = new Map<string, number>();
  for (const text of texts) {
    const [name = '', value, ...more] = text.split('=');
    if (value === undefined || more.length > 0) throw new JailerError(`Invalid format for resources limits: ${text}`);
    if (name !== 'fsize' && name !== 'no-file') throw new JailerError(`Invalid resource argument: ${name}`);
    if (!/^\d+$/.test(value)) throw new JailerError(`Invalid limit value for resource: ${value}`);
    limits.set(name, Number(value));
  }
  return limits;
}
