/** Runs in the builder and in `npm start`. Downloads archives of Java from Maven Central, or from what stands in for it. */
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from '../protocol/errors.ts';
import { calledOffSignal, ToolError } from './tool.ts';

/** Where archives are had from. */
const REPOSITORY_VARIABLE = 'SNAPFAAS_MAVEN_REPOSITORY';
const CENTRAL = 'https://repo1.maven.org/maven2';
const ATTEMPTS = 3;
const PATIENCE_MS = 60_000;
const PAUSE_MS = 1000;
/** None of ours has half of it. */
const MAX_BYTES = 64 * 1024 * 1024;

export interface Artifact {
  /** With slashes. */
  readonly group: string;
  readonly name: string;
  readonly version: string;
  /** Of its archive, in hex. */
  readonly sha256: string;
}

/** @returns its archive. @throws ToolError if it cannot be had, or is another one; the reason of whoever calls the build off. */
export async function fetchArtifact({ group, name, version, sha256 }: Artifact): Promise<Buffer> {
  const repository = (process.env[REPOSITORY_VARIABLE] ?? CENTRAL).replace(/\/+$/, '');
  const url = `${repository}/${group}/${name}/${version}/${name}-${version}.jar`;
  const calledOff = calledOffSignal();
  let failure: unknown;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    calledOff?.throwIfAborted();
    if (attempt > 1) await delay(PAUSE_MS);
    try {
      const archive = await download(url, calledOff);
      const found = createHash('sha256').update(archive).digest('hex');
      if (found === sha256) return archive;
      failure = new Error(`it has the SHA-256 ${found}, not ${sha256}`);
    } catch (error) {
      failure = error;
    }
  }
  calledOff?.throwIfAborted();
  const advice = `name another repository of Maven by ${REPOSITORY_VARIABLE}, or try again`;
  throw new ToolError('maven', `${url} cannot be used: ${messageOf(failure)}; ${advice}`, { cause: failure });
}

async function download(url: string, calledOff: AbortSignal | undefined): Promise<Buffer> {
  const late = AbortSignal.timeout(PATIENCE_MS);
  const signal = calledOff === undefined ? late : AbortSignal.any([late, calledOff]);
  const response = await fetch(url, { signal });
  if (!response.ok) {
    await response.body?.cancel();
    throw new Error(`the repository answered ${response.status}`);
  }
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of response.body as ReadableStream<Uint8Array> & AsyncIterable<Uint8Array>) {
    bytes += part.length;
    if (bytes > MAX_BYTES) throw new Error(`it has more than ${MAX_BYTES} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}
