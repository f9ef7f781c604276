/**
 * Runs in each program. How an image is named, in the spellings of skopeo:
 *
 * ```
 *   [docker://][HOST[:PORT]/]PATH[:TAG][@sha256:HEX]     a registry's; without a host Docker Hub's
 *   oci:DIR[:NAME]                                      an OCI layout in a directory
 *   oci-archive:FILE[:NAME]                             the same in a tar
 *   docker-archive:FILE[:NAME]                          what `docker save` writes
 * ```
 */
import { isAbsolute, resolve } from 'node:path';
import { ImageError } from './image-error.ts';

export type ImageReference = RegistryReference | FileReference;

export interface RegistryReference {
  readonly kind: 'registry';
  /** With its port, if it has one. */
  readonly host: string;
  readonly path: string;
  /** `sha256:HEX` wins over a tag. */
  readonly tag: string;
  readonly digest: string | null;
}

export interface FileReference {
  readonly kind: 'oci' | 'oci-archive' | 'docker-archive';
  readonly file: string;
  /** Which of several; null: the only one. */
  readonly name: string | null;
  /** The image has to be this one; null: whichever is there. */
  readonly digest: string | null;
}

export const DIGEST = /^sha256:[0-9a-f]{64}$/;
const MAX_LENGTH = 1024;
const HOST = /^(?:localhost|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9a-f:]+\])(?::\d{1,5})?$/;
const PATH = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
const FILE_KINDS = ['oci', 'oci-archive', 'docker-archive'] as const;
/** Docker Hub, as people name it, and as it listens. */
const HUB = 'docker.io';

/** @throws ImageError `bad_reference` that says how images are named. */
export function parseReference(text: string): ImageReference {
  const refuse = (why: string): never => {
    const shown = JSON.stringify(text.slice(0, 200));
    throw new ImageError(
      'bad_reference',
      `${shown} names no container image: ${why}; write HOST/PATH:TAG, oci:DIR or docker-archive:FILE`,
    );
  };
  if (text.length > MAX_LENGTH || /[\0-\x20\x7f]/.test(text)) return refuse('it is too long, or has a space in it');
  for (const kind of FILE_KINDS) {
    if (text.startsWith(`${kind}:`)) return parseFile(kind, text.slice(kind.length + 1), refuse);
  }
  const [named = '', digest = null, ...more] = text.replace(/^docker:\/\//, '').split('@');
  if (more.length > 0 || (digest !== null && !DIGEST.test(digest))) {
    return refuse('a digest is "sha256:" and 64 hex digits');
  }
  const slash = named.indexOf('/');
  const first = slash === -1 ? '' : named.slice(0, slash);
  const hasHost = /[.:]/.test(first) || first === 'localhost';
  const host = hasHost ? first : HUB;
  const rest = hasHost ? named.slice(slash + 1) : named;
  const colon = rest.indexOf(':');
  const path = colon === -1 ? rest : rest.slice(0, colon);
  const tag = colon === -1 ? 'latest' : rest.slice(colon + 1);
  if (!HOST.test(host)) return refuse(`${JSON.stringify(host)} is no host of a registry`);
  if (!PATH.test(path) || path.length > 255) return refuse(`${JSON.stringify(path)} is no path in a registry`);
  if (!TAG.test(tag)) return refuse(`${JSON.stringify(tag)} is no tag`);
  return { kind: 'registry', host, path: host === HUB && !path.includes('/') ? `library/${path}` : path, tag, digest };
}

function parseFile(kind: FileReference['kind'], text: string, refuse: (why: string) => never): FileReference {
  const [named = '', digest = null, ...more] = text.split('@sha256:');
  if (more.length > 0 || (digest !== null && !DIGEST.test(`sha256:${digest}`))) {
    return refuse('a digest is "sha256:" and 64 hex digits');
  }
  const [, file = '', name = null] = /^(.+?)(?::([\w.\-/@:+]*))?$/.exec(named) ?? [];
  if (file === '') return refuse('there is no file or directory in it');
  return { kind, file, name: name === '' ? null : name, digest: digest === null ? null : `sha256:${digest}` };
}

/** With an absolute path. @param base the directory that a relative one counts from. */
export function located(reference: ImageReference, base: string): ImageReference {
  if (reference.kind === 'registry' || isAbsolute(reference.file)) return reference;
  return { ...reference, file: resolve(base, reference.file) };
}

/** As `parseReference` reads it. */
export function formatReference(reference: ImageReference): string {
  if (reference.kind === 'registry') {
    const { host, path, tag, digest } = reference;
    return digest === null ? `${host}/${path}:${tag}` : `${host}/${path}@${digest}`;
  }
  const { kind, file, name, digest } = reference;
  return `${kind}:${file}${name === null ? '' : `:${name}`}${digest === null ? '' : `@${digest}`}`;
}

/** The image that a reference was found to be, whatever its tag leads to later. */
export function pinned(reference: ImageReference, digest: string): ImageReference {
  return { ...reference, digest };
}

/** What only somebody with rights on this host may name: its files, and what listens on its loopback interface alone. */
export function isOfThisHost(reference: ImageReference): boolean {
  return reference.kind !== 'registry' || isLoopbackHost(reference.host);
}

/** Registries there are spoken to without TLS, as Docker does it. */
export function isLoopbackHost(host: string): boolean {
  const name = host.replace(/:\d+$/, '');
  return name === 'localhost' || name === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(name);
}

/** Where it is asked. */
export function baseUrl({ host, path }: RegistryReference): string {
  const server = host === HUB ? 'registry-1.docker.io' : host;
  return `${isLoopbackHost(host) ? 'http' : 'https'}://${server}/v2/${path}`;
}
