/**
 * Runs in the fake jailer, which is a shell script around this: a Node program cannot replace itself by another, and the
 * jailer's process is to become Firecracker's. So this prepares the jail for the shell's process and writes, to
 * descriptor 4, the command line that the shell then executes.
 *
 * A Node program cannot be shut into a root of its own either. The fake Firecracker is told its root and keeps to it
 * (`jail-paths.ts`). All else is real: files and owners, device nodes, cgroups, limits, network namespace, user and group.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  realpathSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { joinCgroups } from './cgroups.ts';
import { readEnvironment, type Environment } from './environment.ts';
import { JailerError, parseJailerArguments, type JailerArguments } from './jailer-arguments.ts';
import { Journal } from './journal.ts';

const PLAN_FD = 4;
/** Where the shell opens the journal, which a jailed user may not reach by its path. */
const JOURNAL_FD = 9;
const DIRECTORIES = ['.', 'dev', 'dev/net', 'run'];
const DEVICES = [
  { path: 'dev/net/tun', minor: 200 },
  { path: 'dev/kvm', minor: 232 },
];
const MISC_MAJOR = 10;

/** @param argv the shell's process id, then the jailer's own command line. */
export function runJailer([shellPid = '', ...argv]: readonly string[]): void {
  const environment = readEnvironment(process.env);
  const journal = new Journal(environment.journal);
  const { getuid, getgid } = process;
  journal.write('start', { program: 'jailer', argv, cwd: process.cwd(), uid: getuid?.(), gid: getgid?.() });
  try {
    const options = parseJailerArguments(argv);
    if (options === 'version') {
      console.log(`Jailer v${environment.version}\n`);
      writeSync(PLAN_FD, 'true');
      return;
    }
    writeSync(PLAN_FD, prepare(Number(shellPid), options, environment, journal));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    console.error(`Error: ${message}`);
    journal.write('exit', { status: 1, reason: message });
    process.exitCode = 1;
  }
}

/** Returns the shell's last commands. @throws JailerError, or the error of a file. */
function prepare(pid: number, options: JailerArguments, environment: Environment, journal: Journal): string {
  if (process.getuid?.() !== 0) throw new JailerError('the jailer must be run by root');
  const { id, uid, gid } = options;
  const execFile = realpathSync(options.execFile);
  const name = basename(execFile);
  if (!statSync(execFile).isFile()) throw new JailerError(`${execFile} is not a file`);
  const base = realpathSync(options.chrootBase);
  if (!statSync(base).isDirectory()) throw new JailerError(`${base} is not a directory`);
  const root = join(base, name, id, 'root');
  mkdirSync(root, { recursive: true });
  copyFileSync(execFile, join(root, name));
  joinCgroups(pid, options.parentCgroup ?? name, options);
  for (const directory of DIRECTORIES) {
    mkdirSync(join(root, directory), { recursive: true });
    chmodSync(join(root, directory), 0o700);
    chownSync(join(root, directory), uid, gid);
  }
  for (const { path, minor } of DEVICES) makeDevice(join(root, path), minor, options, journal);
  writeFileSync(join(root, `${name}.pid`), String(pid), { flag: 'wx' });
  return plan(root, name, options, environment);
}

/** @throws JailerError if there is one already: a jail is used once. */
function makeDevice(path: string, minor: number, { uid, gid }: JailerArguments, journal: Journal): void {
  try {
    execFileSync('/usr/bin/mknod', ['-m', '600', path, 'c', String(MISC_MAJOR), String(minor)], { stdio: 'pipe' });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    if (!/not permitted/i.test(why)) throw new JailerError(`Failed to create ${path} via mknod: ${why}`, { cause });
    journal.write('device-missing', { path, reason: why });
    return;
  }
  chownSync(path, uid, gid);
}

/** Only what tells the fake how to play is left of the environment. */
function plan(root: string, name: string, options: JailerArguments, environment: Environment): string {
  const { id, uid, gid, netns, maxFileBytes, maxOpenFiles, extra } = options;
  const variables = Object.entries(process.env).filter(([key]) => key.startsWith('FAKE_'));
  if (environment.journal !== null) variables.push(['FAKE_FIRECRACKER_JOURNAL', `/proc/self/fd/${JOURNAL_FD}`]);
  variables.push(['FAKE_FIRECRACKER_JAIL', root]);
  const words = [
    ...(netns === null ? [] : ['/usr/bin/nsenter', `--net=${netns}`, '--']),
    ...['/usr/bin/prlimit', `--nofile=${maxOpenFiles}:${maxOpenFiles}`],
    ...(maxFileBytes === null ? [] : [`--fsize=${maxFileBytes}:${maxFileBytes}`]),
    ...['/usr/bin/setpriv', '--reuid', String(uid), '--regid', String(gid), '--clear-groups', '--'],
    ...['/usr/bin/env', '-i', ...variables.map(([key, value]) => `${key}=${value ?? ''}`)],
    ...[`./${name}`, '--id', id],
    ...['--start-time-us', String(Date.now() * 1000), '--start-time-cpu-us', '0', '--parent-cpu-time-us', '0'],
    ...extra,
  ];
  const journal = environment.journal === null ? '' : openJournal(environment.journal);
  return `cd ${quoted(root)} && ${journal}exec ${words.map(quoted).join(' ')}`;
}

function openJournal(path: string): string {
  chmodSync(path, 0o666);
  return `exec ${JOURNAL_FD}>>${quoted(path)} && `;
}

/** A word as the shell reads it. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
