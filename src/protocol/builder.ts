/**
 * Runs in snapctr and in the builder. What they say to each other: one JSON object per line, commands on the builder's stdin,
 * events on its stdout. End of stdin means snapctr is gone: the builder calls off what it is at, and ends.
 */
import type { RuntimeName } from './runtimes.ts';

/** Longest line either side sends, in bytes. */
export const MAX_BUILDER_LINE_BYTES = 1024 * 1024;

/** AWS Lambda's limit on layers of a function. */
export const MAX_LAYERS = 5;

/** What is to be made ready. */
export type BuildRequest = BuildSource & BuildTarget;

/**
 * Absolute paths, like all here. A directory gets the packages that it names; a function package, which is a zip archive, is complete
 * as it is. `handler`: `file.function`, of which the file must be in the package; null: that is not looked at. A container image is
 * named as `oci/reference.ts` has it.
 */
export type BuildSource =
  | { readonly directory: string }
  | { readonly package: string; readonly handler: string | null }
  | { readonly container: string };

export interface BuildTarget {
  /** Whose root file system the files are for; null: what they look like. */
  readonly runtime: RuntimeName | null;
  /** The root file system beside which they will be, which is made as well if it is one that is made when it is needed; null: there is none. */
  readonly runtimefs: string | null;
  /** `image`: for virtual machines; `directory`: for plain processes. */
  readonly appfs: 'image' | 'directory';
  /** What is to be below /opt: zip archives or directories, each laid over those before it; at most `MAX_LAYERS`. */
  readonly layers: readonly string[];
}

/** A function's files, ready to be used. */
export interface Built {
  /** Of the image or directory. Must not be changed. */
  readonly path: string;
  /** SHA-256 in hex: of the image, or over the files of the directory and the rules they were made ready by. */
  readonly digest: string;
  /** Of the image, which is sparse; or of the files of the directory together. */
  readonly bytes: number;
}

export type BuilderCommand =
  | ({ readonly op: 'build'; readonly id: string } & BuildRequest)
  /** Answered by `failed` if it was not done before. */
  | { readonly op: 'cancel'; readonly id: string }
  /** Removes images and staged directories of functions that nobody needs. Answered by `removed`. */
  | { readonly op: 'remove-unused'; readonly maxBytes: number; readonly maxAgeMs: number }
  /** Answered by `pong`; see `serving-process.ts` and `served.ts` for what becomes of a side that falls silent. */
  | { readonly op: 'ping' };

export type BuilderEvent =
  /** The builder takes commands. */
  | { readonly event: 'serving' }
  | { readonly event: 'pong' }
  /** @param names digests; `problem`: why it was given up, null if it was not. `more`: there is more to remove. */
  | {
      readonly event: 'removed';
      readonly names: readonly string[];
      readonly more: boolean;
      readonly problem: string | null;
    }
  /** What is being done, such as "installing npm packages". */
  | { readonly event: 'progress'; readonly id: string; readonly text: string }
  /** What the user should know, such as packages that were left out. */
  | { readonly event: 'note'; readonly id: string; readonly text: string }
  /** The last that is said of a build is one of these two. */
  | ({ readonly event: 'built'; readonly id: string } & Built)
  | { readonly event: 'failed'; readonly id: string; readonly code: BuildFailureCode; readonly message: string };

/**
 * Why a build failed:
 *
 * | code           | what                                                                    | again?                 |
 * | -------------- | ----------------------------------------------------------------------- | ---------------------- |
 * | `bad_function` | something in the function's files cannot be used; the message says what  | gives the same         |
 * | `bad_package`  | a package or layer cannot be used; the message says what to change       | gives the same         |
 * | `bad_image`    | a container image is not there, not ours to have, or cannot be used      | gives the same         |
 * | `registry_failed` | a registry does not answer                                           | may work               |
 * | `tool_failed`  | a program such as npm, pip or apt failed, or is not installed           | may work               |
 * | `host_failed`  | the host refused, such as by a full disk                                | may work               |
 * | `builder_lost` | the builder died or hung, and so did the next one with this build       | may work               |
 * | `too_many`     | too many builds wait                                                    | works later            |
 * | `too_long`     | it took longer than any build may                                       | may work               |
 * | `internal`     | a fault of ours                                                         | gives the same         |
 */
export type BuildFailureCode =
  | 'bad_function'
  | 'bad_package'
  | 'bad_image'
  | 'registry_failed'
  | 'tool_failed'
  | 'host_failed'
  | 'builder_lost'
  | 'too_many'
  | 'too_long'
  | 'internal';

const RETRYABLE: ReadonlySet<BuildFailureCode> = new Set([
  'tool_failed',
  'registry_failed',
  'host_failed',
  'builder_lost',
  'too_many',
  'too_long',
]);

export class BuildError extends Error {
  override readonly name = 'BuildError';
  readonly code: BuildFailureCode;

  constructor(code: BuildFailureCode, message: string) {
    super(message);
    this.code = code;
  }

  /** Whether the same may work another time. */
  get isRetryable(): boolean {
    return RETRYABLE.has(this.code);
  }
}
