/**
 * Runs in snapctr. The files of the live page, as `npm run build` made them, in memory: some 50 KB. Names of scripts and styles say what
 * is in them, so that browsers keep them for ever.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress } from 'node:zlib';
import { SnapfaasError } from '../../../protocol/errors.ts';
import { codeOf } from '../../../storage/error-code.ts';
import { answer, type Answer, type HeaderList } from '../http-answer.ts';

const compress = promisify(brotliCompress);

/**
 * Scripts and styles of the page's own files alone; no page may show it in a frame. What functions print is text to it, and nothing makes
 * text to elements.
 */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

export const SECURITY_HEADERS: HeaderList = [
  ...['content-security-policy', POLICY],
  ...['x-content-type-options', 'nosniff'],
  ...['referrer-policy', 'no-referrer'],
  ...['cross-origin-opener-policy', 'same-origin'],
  ...['cross-origin-resource-policy', 'same-origin'],
];

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
};

interface PageFile {
  readonly type: string;
  readonly plain: Buffer;
  readonly compressed: Buffer;
}

export class PageFiles {
  readonly #directory: string;
  #files: Promise<ReadonlyMap<string, PageFile>> | null = null;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** @param name of a file. @throws SnapfaasError `bad_request`: there is none, or the page was not built. */
  async answer(name: string, acceptEncoding: string): Promise<Answer> {
    const files = await this.#read();
    const file = files.get(name);
    if (file === undefined) throw new SnapfaasError('bad_request', `there is no file ${name} of the page; open /ui`);
    const isCompressed = /\bbr\b/.test(acceptEncoding);
    const headers = [
      ...SECURITY_HEADERS,
      ...['cache-control', name === 'index.html' ? 'no-cache' : 'public, max-age=31536000, immutable'],
      ...['vary', 'accept-encoding'],
      ...(isCompressed ? ['content-encoding', 'br'] : []),
    ];
    return answer(200, file.type, isCompressed ? file.compressed : file.plain, headers);
  }

  /** Once; a page that is not there is looked for again. */
  #read(): Promise<ReadonlyMap<string, PageFile>> {
    if (this.#files === null) {
      this.#files = readFiles(this.#directory);
      this.#files.catch(() => (this.#files = null));
    }
    return this.#files;
  }
}

async function readFiles(directory: string): Promise<ReadonlyMap<string, PageFile>> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (codeOf(error) !== 'ENOENT') throw error;
    throw new SnapfaasError('internal', 'the page has not been built; run "npm run build", then load it again');
  });
  const files = await Promise.all(
    names.map(async (name) => {
      const plain = await readFile(join(directory, name));
      const type = TYPES[name.slice(name.lastIndexOf('.') + 1)] ?? 'application/octet-stream';
      return [name, { type, plain, compressed: await compress(plain) }] as const;
    }),
  );
  return new Map(files);
}
