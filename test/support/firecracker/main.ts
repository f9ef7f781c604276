/**
 * Runs in the fake Firecracker: `firecracker --api-sock PATH --id ID …`. Serves the API until the guest ends the machine
 * or somebody kills it. SIGTERM and SIGINT end it at once, and leave its sockets behind, as with the real one.
 */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { ApiServer, fault, type ApiAnswer } from './api-server.ts';
import { ArgumentError, ExitStatus, isInstanceId, parseArguments, type FirecrackerArguments } from './arguments.ts';
import { ApiDescription, type ApiDocument } from './description.ts';
import { readEnvironment, snapshotFormat, type Environment } from './environment.ts';
import { Faults } from './faults.ts';
import type { HttpRequest } from './http-parser.ts';
import { JailPaths } from './jail-paths.ts';
import { Journal } from './journal.ts';
import { Machine } from './machine.ts';
import { describeStateFile } from './state-file.ts';

/** Signals that end it in order, with a status of their own. */
const SIGNAL_STATUSES = [
  ['SIGSYS', 148],
  ['SIGBUS', 149],
  ['SIGSEGV', 150],
  ['SIGXFSZ', 151],
  ['SIGXCPU', 154],
  ['SIGHUP', 156],
  ['SIGILL', 157],
] as const;

export async function runFirecracker(argv: readonly string[]): Promise<void> {
  const environment = readEnvironment(process.env);
  const journal = new Journal(environment.journal);
  const { pid, env, getuid, getgid } = process;
  journal.write('start', {
    program: 'firecracker',
    argv,
    cwd: process.cwd(),
    uid: getuid?.(),
    gid: getgid?.(),
    environment: Object.keys(env),
    readyMs: performance.now(),
  });
  let machine: Machine | null = null;
  const exit = (status: number, reason: string): never => {
    machine?.destroy();
    journal.write('exit', { status, reason });
    if (status !== 0) print(2, `Error: ${reason}`);
    process.exit(status);
  };
  try {
    const options = parseArguments(argv);
    const { question, id } = options;
    if (question !== null) {
      print(1, answerTo(question, environment));
      return exit(ExitStatus.ok, 'a question was answered');
    }
    if (!isInstanceId(id)) {
      print(2, `thread 'main' panicked: Invalid instance ID: ${id}`);
      journal.write('exit', { status: 'SIGABRT', reason: `the id ${id} is not allowed` });
      process.kill(pid, 'SIGABRT');
      return await new Promise(() => undefined);
    }
    for (const [signal, status] of SIGNAL_STATUSES) process.on(signal, () => exit(status, signal));
    // Counted, and no more.
    process.on('SIGPIPE', () => undefined);
    const faults = new Faults(environment.fault, journal);
    await faults.perform(faults.take('start'), exit);
    machine = await serve(options, environment, { journal, faults, exit });
  } catch (error) {
    const status = error instanceof ArgumentError ? error.status : ExitStatus.general;
    exit(status, error instanceof Error ? error.message : String(error));
  }
}

interface Tools {
  readonly journal: Journal;
  readonly faults: Faults;
  readonly exit: (status: number, reason: string) => void;
}

async function serve(
  options: FirecrackerArguments,
  environment: Environment,
  { journal, faults, exit }: Tools,
): Promise<Machine> {
  const { id, apiSocket, logPath, logsInfo, metricsPath, maxBodyBytes } = options;
  const paths = new JailPaths(environment.jail);
  const log = logPath === null ? 1 : openSync(paths.resolve(logPath), 'a');
  const document = JSON.parse(readFileSync(join(environment.home, 'description.json'), 'utf8')) as ApiDocument;
  const machine = new Machine({
    id,
    environment,
    description: new ApiDescription(document, environment.version),
    faults,
    journal,
    paths,
    exit,
    print: (line) => print(1, line),
    log: (thread, text) => print(1, `${new Date().toISOString().slice(0, -1)} [${id}:${thread}] ${text}`),
  });
  if (metricsPath !== null) machine.openMetrics(metricsPath);
  const info = (text: string): void => (logsInfo ? print(log, `[${id}:main] ${text}`) : undefined);
  info(`Running Firecracker v${environment.version}`);
  await faults.perform(faults.take('listen'), exit);
  const server = new ApiServer((request) => answer(machine, request, { journal, faults, exit }), maxBodyBytes);
  await server.listen(paths.socket(apiSocket)).catch((cause: unknown) => {
    throw new Error(`Failed to open the API socket at: ${apiSocket}. Check that it is not already used.`, { cause });
  });
  journal.write('listen', { path: apiSocket });
  info(`Listening on API socket ("${apiSocket}").`);
  if (log !== 1) closeSync(log);
  return machine;
}

/** One request, with the faults that are wanted before and after it. */
async function answer(machine: Machine, request: HttpRequest, { journal, faults, exit }: Tools): Promise<ApiAnswer> {
  const { method, path, body } = request;
  const at = `${method} ${path}`;
  const began = performance.now();
  const struck = faults.take(at);
  await faults.perform(struck, exit);
  const given = await answerOrFault(machine, request, struck?.do, struck?.text);
  journal.write('request', {
    method,
    path,
    body: body?.toString('utf8') ?? null,
    status: given.status,
    ms: performance.now() - began,
    isDeprecated: given.isDeprecated === true,
    ...(given.status === 400 ? { answer: given.body } : {}),
  });
  const later = faults.take(at, 'after');
  if (later === null) return given;
  return {
    ...given,
    sent: async () => {
      await given.sent?.();
      await faults.perform(later, exit);
    },
  };
}

async function answerOrFault(
  machine: Machine,
  request: HttpRequest,
  action: string | undefined,
  text = 'a fault was asked for',
): Promise<ApiAnswer> {
  if (action === 'refuse') return fault(text);
  if (action === 'garbage') return { status: 400, body: `{ "error": "${text}\nnot JSON" }` };
  return machine.answer(request);
}

function answerTo(question: NonNullable<FirecrackerArguments['question']>, { version }: Environment): string {
  if (question === 'version') return `Firecracker v${version}\n`;
  return `v${question === 'snapshot-version' ? snapshotFormat(version) : describeStateFile(question.describe)}`;
}

/** Whoever started the fake need not read what it prints. */
function print(fd: number, line: string): void {
  try {
    writeSync(fd, `${line}\n`);
  } catch {
    // Nobody is there, or the pipe is full: a line is lost.
  }
}
