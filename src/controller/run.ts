/** Runs in snapctr. One run of the controller from flags to exit code: start, serve, drain, end. */
import { totalmem } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Authenticator } from '../auth/authenticator.ts';
import { KeyFileError } from '../auth/key-file.ts';
import { messageOf } from '../protocol/errors.ts';
import type { QemuAccelerator } from '../protocol/runner.ts';
import { capabilitiesOf, SMALLEST_VM_MIB, type VmmWish } from '../protocol/vmms.ts';
import { Control } from '../control/control.ts';
import { defaultDataDirectory, openDataDirectory, type DataDirectory } from '../control/data-directory.ts';
import { FunctionLogs } from '../logs/function-logs.ts';
import { Deployments } from '../registry/deployments.ts';
import { FunctionRegistry } from '../registry/function-registry.ts';
import { RecordStoreError } from '../registry/record-files.ts';
import { DirectoryError } from '../storage/make-directory.ts';
import { BuilderClient } from './builder/builder-client.ts';
import { builderCommand } from './builder/builder-command.ts';
import { createBuild } from './builder/function-files.ts';
import { ConfigError, loadConfig, type Config } from './config/config.ts';
import { Controller } from './controller.ts';
import { EXIT_FAILED, EXIT_OK, EXIT_USAGE } from './exit-status.ts';
import { CertificateError } from './gateway/certificate.ts';
import { FileGateway } from './gateway/file.ts';
import type { EventDispatcher } from './events/dispatcher.ts';
import { EventStoreError } from './events/event-store.ts';
import { openEvents } from './events/open-events.ts';
import { EventsApi } from './gateway/events/api.ts';
import { InvocationsApi } from './gateway/invocations/api.ts';
import type { StatusMember } from './telemetry/status-schema.ts';
import { CredentialsError } from './config/credentials-error.ts';
import type { EventSources } from './event-sources/event-sources.ts';
import { openSchedules } from './schedules/open-schedules.ts';
import type { Scheduler } from './schedules/scheduler.ts';
import { LogsApi } from './gateway/logs/api.ts';
import { SchedulesApi } from './gateway/schedules/api.ts';
import type { Gateway } from './gateway/gateway.ts';
import { HttpGateway } from './gateway/http.ts';
import { LiveRows } from './gateway/ui/live-rows.ts';
import { openAccess, type Access, type AccessFlags } from './access.ts';
import { FileWatch } from '../storage/file-watch.ts';
import { FunctionsFile } from './functions-file.ts';
import { createLogger, flushLog, say, type Logger } from './log.ts';
import type { LogLevel } from './log-levels.ts';
import { runnerCommand } from './runner/runner-command.ts';
import { Retention } from './retention.ts';
import { StopSignals } from './stop-signals.ts';
import { DiskSpace } from './telemetry/disk-space.ts';
import { StoreSize } from './telemetry/store-size.ts';
import { VmRecords } from './telemetry/vm-records.ts';
import { UsageError } from './usage-error.ts';

/** The command line as commander hands it over. */
export interface SnapctrFlags extends AccessFlags {
  /** MB. */
  readonly mem: number;
  readonly port?: number;
  readonly requests_file?: string;
  readonly allowOrigin: readonly string[];
  /** Changed files are read by themselves. */
  readonly watch?: boolean;
  readonly output?: string;
  /** A file that gets a line for each VM that has ended. */
  readonly vmRecords?: string;
  readonly vmm: VmmWish;
  readonly accel: 'auto' | QemuAccelerator;
  readonly logLevel: LogLevel;
  /** A broken function stops the start. */
  readonly strict?: boolean;
  /** Where what is made over the API is kept; default: below the user's data home, for requests over HTTP. */
  readonly dataDir?: string;
  /** Seconds. */
  readonly drainTimeout: number;
  /** Seconds. */
  readonly bootTimeout: number;
  /** False with `--no-snapshots`. */
  readonly snapshots: boolean;
}

const MIB = 1024 * 1024;
/** Logs of all functions together, and how long a file of them stays that nobody writes to; docs/logs.md names both. */
const LOGS_MAX_BYTES = 1024 * MIB;
const LOGS_MAX_AGE_MS = 14 * 24 * 3600 * 1000;
/** Most of what a deployment waits for has limits of its own. */
const DEPLOYMENTS_AT_ONCE = 100;
/** After everything was answered or called off, the last bytes may take this long to leave, in ms. */
const LAST_ANSWERS_MS = 1000;

/** How long the last lines of the log may take to be read, in ms. */
const LAST_LINES_MS = 1000;
/** From the end of draining, or a second signal, to the end of the process at the latest, in ms. */
const END_LIMIT_MS = 9000;

/** @returns the exit code; nothing of the run is left by then. */
export async function runController(flags: SnapctrFlags): Promise<number> {
  const logger = createLogger(flags.logLevel);
  try {
    if ((flags.port === undefined) === (flags.requests_file === undefined)) {
      throw new UsageError('give exactly one of --port N (requests over HTTP) and --requests_file FILE');
    }
    if (flags.output !== undefined && flags.requests_file === undefined) {
      throw new UsageError('--output is for the results of --requests_file; over HTTP results go to their clients');
    }
    const config = readConfig(flags);
    for (const note of config.notes) logger.warn(note);
    const access = flags.port === undefined ? null : await openAccess(flags, flags.port, logger);
    const registry = new FunctionRegistry();
    const data = await openData(flags, logger);
    const functionLogs = data === null ? null : openLogs(data, logger);
    // OpenTelemetry's SDK takes time and memory, which nobody is to pay for nothing.
    const tracing = isTraced(process.env)
      ? await (await import('./telemetry/tracing.ts')).openTracing(process.env, (message) => logger.warn(message))
      : null;
    const disks = [
      ...(data === null ? [] : [new DiskSpace('data', data.directory)]),
      ...(flags.snapshots ? [new DiskSpace('snapshots', config.snapshotDirectory)] : []),
    ];
    const vmRecords = flags.vmRecords === undefined ? null : new VmRecords(flags.vmRecords);
    const store = flags.snapshots ? new StoreSize(config.snapshotDirectory) : null;
    const controller = new Controller({
      config,
      registry,
      disks,
      store,
      tracing,
      ...(functionLogs === null ? {} : { functionLogs }),
      ...(vmRecords === null ? {} : { onVmRecord: (record) => vmRecords.write(record) }),
      runnerCommand: runnerCommand(flags, config),
      bootTimeoutMs: flags.bootTimeout * 1000,
      useSnapshots: flags.snapshots,
      logger,
    });
    const deployments = new Deployments({
      registry,
      prepare: (version) => controller.prepare(version),
      discard: (version) => controller.discard(version),
      atOnce: DEPLOYMENTS_AT_ONCE,
    });
    const builder = new BuilderClient(builderCommand(), logger);
    let control: Control | null = null;
    let events: EventDispatcher | null = null;
    let schedules: Scheduler | null = null;
    let eventSources: EventSources | null = null;
    const retention = new Retention({
      registry,
      limits: config.retention,
      removals: [(limits) => builder.removeUnused(limits), (limits) => controller.removeLayers(limits)],
    });
    const functions: FunctionsFile = new FunctionsFile({
      registry,
      deployments,
      load: () => readConfig(flags),
      createBuild: () => createBuild(builder, flags.vmm, logger),
      isTaken: (name) => control?.functions.has(name) === true,
      watch: flags.watch === true ? createWatch(() => functions.reload(), logger) : null,
      logger,
    });
    const signals = new StopSignals({ onReload: () => void functions.reload(), onSecond: endInTime, logger });
    try {
      // firerunner comes up while the records are read.
      const running = controller.start();
      for (const disk of disks) void disk.start();
      void store?.start();
      running.catch(() => undefined);
      if (data !== null) {
        control = await Control.open(data, {
          registry,
          deployments,
          createBuild: () => createBuild(builder, flags.vmm, logger),
          runtimefsDirectory: config.runtimefsDirectory,
          hasVms: capabilitiesOf(flags.vmm).appfs === 'image',
          account: config.lambda,
          memoryMib: config.memoryMib,
          provisionedState: (name, qualifier) => controller.provisionedState(name, qualifier),
          fileOf: (name) => functions.fileOf(name),
          onProblem: (name, message) => logger.error({ function: name }, message),
        });
      }
      const deployed = functions.apply(config);
      // Requests for functions that are not ready yet wait; those of a file have their times.
      const isAwaited = flags.strict === true || flags.requests_file !== undefined;
      const started = Promise.all([running, isAwaited ? deployed : null]);
      started.catch(() => undefined);
      const isStarted = await Promise.race([started.then(() => true), signals.first.then(() => false)]);
      // Stopped as asked; but a file of requests has answers nobody got.
      if (!isStarted) return flags.requests_file === undefined ? EXIT_OK : EXIT_FAILED;
      if (flags.strict === true) refuseBroken(config, registry, (name) => functions.fileOf(name) !== null);
      // Those of before find what they are for; nobody asks a file of requests for them.
      if (flags.requests_file === undefined) {
        events = await openEvents({
          maxConcurrency: maxConcurrencyOf(flags),
          queueCapacity: config.queueCapacity,
          account: config.lambda,
          data,
          registry,
          submit: (task) => controller.submit(task),
          logger,
        });
        eventSources = await openEventSourcesOf(flags, config, registry, controller, events, logger);
        schedules = await openSchedules({ data, events, registry, account: config.lambda, logger });
      }
      const parts = { flags, config, registry, disks, controller, deployments, control, functionLogs, access, logger };
      return await serveGateway({ ...parts, events, schedules, eventSources }, signals);
    } finally {
      deployments.close();
      for (const disk of disks) disk.close();
      store?.close();
      logger.debug({ status: controller.status() }, 'closing');
      endInTime();
      await Promise.all([
        controller.close(),
        builder.close(),
        functions.close(),
        retention.close(),
        schedules?.close(),
        // What is run is answered by the controller's end, and what it came to is told to the servers and kept.
        eventSources?.close(),
      ]);
      await Promise.all([functionLogs?.close(), events?.close(), vmRecords?.close()]);
      await tracing?.close();
      await (control?.close() ?? data?.close());
      logger.debug({ status: controller.status() }, 'closed');
    }
  } catch (error) {
    say(`snapctr: ${messageOf(error)}`);
    const isUsage =
      error instanceof UsageError ||
      error instanceof ConfigError ||
      error instanceof KeyFileError ||
      error instanceof RecordStoreError ||
      error instanceof EventStoreError ||
      error instanceof CredentialsError ||
      error instanceof DirectoryError ||
      error instanceof CertificateError;
    return isUsage ? EXIT_USAGE : EXIT_FAILED;
  } finally {
    await flushLog(LAST_LINES_MS);
  }
}

/** Null: there are no servers. Who has none does not pay for their client. */
async function openEventSourcesOf(
  flags: SnapctrFlags,
  { nats, lambda, maxPayloadBytes }: Config,
  registry: FunctionRegistry,
  controller: Controller,
  events: EventDispatcher,
  logger: Logger,
): Promise<EventSources | null> {
  if (nats === null) return null;
  const { openEventSources } = await import('./event-sources/open-event-sources.ts');
  return openEventSources({
    settings: nats,
    events,
    registry,
    submit: (task) => controller.submit(task),
    maxConcurrency: maxConcurrencyOf(flags),
    maxPayloadBytes,
    account: lambda,
    logger,
  });
}

/** Whether the variables of OpenTelemetry name somebody who gets traces. */
function isTraced(env: NodeJS.ProcessEnv): boolean {
  const endpoint = env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT'] ?? env['OTEL_EXPORTER_OTLP_ENDPOINT'] ?? '';
  return endpoint !== '' && env['OTEL_SDK_DISABLED'] !== 'true';
}

/** Whatever hangs now, nobody has to end this process by force: firerunner and the VMs notice its end. */
function endInTime(): void {
  setTimeout(() => process.exit(EXIT_FAILED), END_LIMIT_MS).unref();
}

function readConfig(flags: SnapctrFlags): Config {
  const hostMemoryMib = Math.floor(totalmem() / MIB);
  if (flags.mem > hostMemoryMib) {
    throw new UsageError(`--mem ${flags.mem}: this host has ${hostMemoryMib} MB; give less`);
  }
  return loadConfig(flags.config, { memoryMib: flags.mem, hostMemoryMib, vmm: flags.vmm, cwd: process.cwd() });
}

/**
 * Null: nothing is kept. Nobody asks a file of requests for what was made over an API; and whoever named no directory may run a second
 * snapctr, or have no home.
 */
async function openData({ dataDir, port }: SnapctrFlags, logger: Logger): Promise<DataDirectory | null> {
  if (dataDir !== undefined) return openDataDirectory(dataDir);
  if (port === undefined) return null;
  try {
    return await openDataDirectory(defaultDataDirectory());
  } catch (error) {
    logger.warn(
      `functions can be neither made nor changed over the API, and their logs are not kept: ${messageOf(error)}`,
    );
    return null;
  }
}

function openLogs({ logs }: DataDirectory, logger: Logger): FunctionLogs {
  return new FunctionLogs({
    directory: logs,
    maxBytes: LOGS_MAX_BYTES,
    maxAgeMs: LOGS_MAX_AGE_MS,
    onProblem: (message) => logger.warn(message),
    now: Date.now,
  });
}

function createWatch(reload: () => Promise<void>, logger: Logger): FileWatch {
  return new FileWatch({
    onChange: () => void reload(),
    onProblem: (message) => logger.warn(`changes of files may not be noticed: ${message}`),
  });
}

/** VMs of the smallest function that there is memory for. */
function maxConcurrencyOf({ mem }: SnapctrFlags): number {
  return Math.max(1, Math.floor(mem / SMALLEST_VM_MIB));
}

/** @throws UsageError if a function of the configuration cannot run. */
function refuseBroken({ broken }: Config, registry: FunctionRegistry, isOfFile: (name: string) => boolean): void {
  const failed = registry.list().filter(({ name, state }) => state === 'Failed' && isOfFile(name));
  const problems = [...broken.filter(({ name }) => name === null), ...failed].flatMap((one) => one.problems);
  if (problems.length > 0) throw new UsageError(problems.join('\n'));
}

/** What a run consists of, in the order in which it comes up. */
interface Run {
  readonly flags: SnapctrFlags;
  readonly config: Config;
  readonly logger: Logger;
  /** Null: requests come from a file. */
  readonly access: Access | null;
  readonly registry: FunctionRegistry;
  /** Those that may become full. */
  readonly disks: readonly DiskSpace[];
  readonly controller: Controller;
  readonly deployments: Deployments;
  /** Null: nothing is kept, and so of `functionLogs`. */
  readonly control: Control | null;
  readonly functionLogs: FunctionLogs | null;
  /** Null: requests come from a file, and so of `schedules`. */
  readonly events: EventDispatcher | null;
  readonly schedules: Scheduler | null;
  /** Null: there are no servers that could have any. */
  readonly eventSources: EventSources | null;
}

async function serveGateway(run: Run, signals: StopSignals): Promise<number> {
  const { flags, controller, events, schedules, eventSources, logger } = run;
  const { gateway, finished } = createGateway(run);
  if (events !== null) {
    controller.telemetry.metrics.addEvents(() => events.status());
    // What was missed is appended before anything runs: what it was appended of before is known by that.
    await schedules?.start();
    await events.start();
    if (eventSources !== null) controller.telemetry.metrics.addEventSources(() => eventSources.status());
    await eventSources?.start();
  }
  await gateway.start();
  if (gateway instanceof HttpGateway) {
    const { host, port } = gateway.address;
    say(`listening on ${gateway.scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`);
  }
  // A drained request file still tells whether all it answered was well; a drained server was stopped as asked.
  let exitCode = EXIT_OK;
  const finishing = finished.then((code) => (exitCode = code));
  await Promise.race([finishing, signals.first]);
  controller.beginDrain();
  const drained = Promise.all([gateway.drain(), schedules?.drain(), eventSources?.drain(), events?.drain()]);
  const patience = new AbortController();
  const tooLong = sleep(flags.drainTimeout * 1000, 'late', { signal: patience.signal }).catch(() => 'called off');
  const end = await Promise.race([drained.then(() => 'drained'), tooLong, signals.second.then(() => 'now')]);
  patience.abort();
  if (end !== 'drained') {
    if (end === 'late') logger.warn(`requests still ran after ${flags.drainTimeout} s of draining; they are ended`);
    await controller.close();
    await Promise.race([drained, sleep(LAST_ANSWERS_MS)]);
  }
  await gateway.close();
  return end === 'drained' ? exitCode : EXIT_FAILED;
}

function createGateway(run: Run): { readonly gateway: Gateway; readonly finished: Promise<number> } {
  const { flags, config, registry, controller, control, access, functionLogs, logger } = run;
  const { events, schedules, eventSources } = run;
  const submit = controller.submit.bind(controller);
  const { maxPayloadBytes } = config;
  if (flags.requests_file !== undefined) {
    const gateway = new FileGateway({
      requestsFile: flags.requests_file,
      output: flags.output ?? null,
      maxPayloadBytes,
      submit,
    });
    const finished = gateway.finished.then((summary) => {
      say(summary.formatSummary());
      return summary.errors === 0 && summary.complete ? EXIT_OK : EXIT_FAILED;
    });
    finished.catch(() => undefined);
    return { gateway, finished };
  }
  if (access === null || events === null) throw new Error('bug: nobody said who may come in');
  const isFunction = (name: string): boolean => registry.get(name) !== undefined;
  const gateway = new HttpGateway({
    host: flags.host,
    port: flags.port ?? 0,
    allowedOrigins: flags.allowOrigin,
    ...(access.certificate === null ? {} : { certificate: access.certificate }),
    access: new Authenticator({
      keys: () => access.keys.current,
      region: config.lambda.region,
      now: Date.now,
    }),
    maxPayloadBytes,
    requestMemoryBytes: config.requestMemoryMib * MIB,
    submit,
    lambda: {
      account: config.lambda,
      functions: registry,
      plane: control,
      maxConcurrency: maxConcurrencyOf(flags),
      interpreters: capabilitiesOf(flags.vmm).isolates ? 'images' : 'host',
      usesSnapshots: () => controller.usesSnapshots,
      events,
      eventSources,
      logger,
      audit: access.audit,
    },
    jsonApis: [
      new EventsApi(events, access.audit, isFunction),
      new InvocationsApi(controller.telemetry.history),
      ...(schedules === null
        ? []
        : [
            new SchedulesApi({
              registry,
              scheduler: schedules,
              functions: control?.functions ?? null,
              audit: access.audit,
            }),
          ]),
      ...(functionLogs === null ? [] : [new LogsApi({ account: config.lambda, logs: functionLogs, isFunction })]),
    ],
    livePage: {
      directory: fileURLToPath(new URL('../ui/page', import.meta.url)),
      source: new LiveRows({ ...run, events }),
    },
    readiness: () => controller.readiness(),
    status: () =>
      ({
        ...controller.status(),
        events: events.status(),
        schedules: schedules?.status(),
        event_sources: eventSources?.status(),
      }) satisfies Record<StatusMember, unknown>,
    metrics: (query) => controller.telemetry.metrics.render(query),
    onRefused: (status) => controller.telemetry.metrics.onGatewayRefusal(status),
  });
  return { gateway, finished: new Promise<number>(() => undefined) };
}
