/** Runs in the builder. One build: a function's directory or package becomes an image, or a staged directory for plain processes. */
import { dirname } from 'node:path';
import { packApp } from '../images/app-image.ts';
import { stageApp } from '../images/app-stage.ts';
import { ensureRuntimefs } from '../images/build.ts';
import { measureTree } from '../images/ext4.ts';
import { endingTools, ToolError } from '../images/tool.ts';
import { TreeError } from '../images/tree.ts';
import { ImageError } from '../oci/image-error.ts';
import { PackageError } from '../packages/package-error.ts';
import { runtimefsAt } from '../protocol/runtimes.ts';
import type { BuildFailureCode, BuildRequest, BuildTarget, Built } from '../protocol/builder.ts';
import { systemCodeOf } from '../storage/error-code.ts';
import { touch } from '../storage/uses.ts';
import { DirectoryError } from '../storage/make-directory.ts';
import { buildContainer } from './container.ts';
import { withUnpacked } from './unpacked.ts';

export interface BuildObserver {
  onProgress(text: string): void;
  onNote(text: string): void;
}

/** @throws what `failureCode` knows; the signal's reason. Then every program that it ran has ended, and nothing of it is left. */
export function build(request: BuildRequest, observer: BuildObserver, signal: AbortSignal): Promise<Built> {
  return endingTools(signal, async () => {
    if (request.runtimefs !== null) {
      await ensureRuntimefs(request.runtimefs, (text) => observer.onProgress(text), signal);
    }
    if ('container' in request) return buildContainer(request.container, observer, signal);
    const isComplete = 'package' in request;
    if (!isComplete && request.layers.length === 0) {
      return buildDirectory(request.directory, [], isComplete, request, observer, signal);
    }
    observer.onProgress(isComplete ? 'unpacking the package' : 'unpacking layers');
    return withUnpacked(request, signal, ({ directory, layers, withoutThem }) => {
      const named = { ...observer, onNote: (text: string): void => observer.onNote(withoutThem(text)) };
      return buildDirectory(directory, layers, isComplete, request, named, signal);
    });
  });
}

async function buildDirectory(
  directory: string,
  layers: readonly string[],
  isComplete: boolean,
  { runtime, runtimefs: path, appfs }: BuildTarget,
  observer: BuildObserver,
  signal: AbortSignal,
): Promise<Built> {
  const runtimefs = path === null ? null : runtimefsAt(path);
  const staged = await stageApp(directory, {
    ...(runtime !== null && { runtime }),
    ...(runtimefs !== null && { runtimefs }),
    onHost: appfs === 'directory',
    isComplete,
    layers,
    onProgress: (text) => observer.onProgress(text),
    signal,
  });
  for (const note of staged.notes) observer.onNote(note);
  if (appfs === 'directory') {
    const { bytes } = await measureTree(staged.directory);
    return { path: staged.directory, digest: staged.digest, bytes };
  }
  const { image, digest, bytes } = await packApp(staged, { signal });
  await touch(dirname(image));
  return { path: image, digest, bytes };
}

export function failureCode(error: unknown): BuildFailureCode {
  if (error instanceof TreeError) return 'bad_function';
  if (error instanceof PackageError) return 'bad_package';
  if (error instanceof ImageError) return error.isRetryable ? 'registry_failed' : 'bad_image';
  if (error instanceof ToolError) return 'tool_failed';
  return error instanceof DirectoryError || systemCodeOf(error) !== undefined ? 'host_failed' : 'internal';
}
