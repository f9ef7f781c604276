/** A container registry on loopback, by the OCI distribution specification: what tests put into it can be pulled. */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { partsOf, type Blob, type TestImage } from './container-images.ts';

export interface RegistryFaults {
  /** So many answers with a blob end in the middle. */
  breaks?: number;
  /** Byte ranges are not known. */
  knowsRanges?: boolean;
  /** Blobs come with another last byte. */
  lies?: boolean;
  /** Every answer's status. */
  status?: number;
}

export class TestRegistry {
  /** `GET /v2/…`, in order. */
  readonly seen: string[] = [];
  readonly faults: RegistryFaults = {};
  readonly #server: Server;
  readonly #blobs = new Map<string, Blob>();
  /** By `path:tag` and `path@digest`. */
  readonly #manifests = new Map<string, Blob & { readonly type: string }>();
  readonly #token: string | null;

  private constructor(server: Server, token: string | null) {
    this.#server = server;
    this.#token = token;
  }

  /** @param wantsToken it sends whoever asks to its token service first. */
  static async start(wantsToken = false): Promise<TestRegistry> {
    const server = createServer();
    const registry = new TestRegistry(server, wantsToken ? randomUUID() : null);
    server.on('request', (request: IncomingMessage, response: ServerResponse) => registry.#answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return registry;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** @returns the manifest's digest. */
  push(path: string, tag: string, image: TestImage): string {
    const { manifest, config, layers } = partsOf(image);
    for (const blob of [config, ...layers]) this.#blobs.set(blob.digest, blob);
    this.pushManifest(path, tag, manifest, 'application/vnd.oci.image.manifest.v1+json');
    return manifest.digest;
  }

  pushManifest(path: string, tag: string, manifest: Blob, type: string): void {
    for (const name of [`${path}:${tag}`, `${path}@${manifest.digest}`])
      this.#manifests.set(name, { ...manifest, type });
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', `http://${this.host}`);
    if (url.pathname === '/token') {
      const isRight =
        url.searchParams.get('service') === 'test' && /^repository:.+:pull$/.test(url.searchParams.get('scope') ?? '');
      return void response.writeHead(isRight ? 200 : 400).end(JSON.stringify({ token: this.#token }));
    }
    this.seen.push(`${request.method ?? ''} ${url.pathname}`);
    if (this.#token !== null && request.headers.authorization !== `Bearer ${this.#token}`) {
      const challenge = `Bearer realm="http://${this.host}/token",service="test",scope="repository:x:pull"`;
      return void response.writeHead(401, { 'www-authenticate': challenge }).end('{}');
    }
    if (this.faults.status !== undefined) return void response.writeHead(this.faults.status).end('{}');
    const [, path = '', kind = '', name = ''] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(url.pathname) ?? [];
    if (kind === 'manifests') {
      const manifest = this.#manifests.get(name.startsWith('sha256:') ? `${path}@${name}` : `${path}:${name}`);
      if (manifest === undefined) return void response.writeHead(404).end('{}');
      return void response.writeHead(200, { 'content-type': manifest.type }).end(manifest.bytes);
    }
    const blob = this.#blobs.get(name);
    if (blob === undefined) return void response.writeHead(404).end('{}');
    this.#sendBlob(blob.bytes, request.headers.range, response);
  }

  #sendBlob(whole: Buffer, range: string | undefined, response: ServerResponse): void {
    const from = this.faults.knowsRanges === false ? null : (/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? null);
    let bytes = from === null ? whole : whole.subarray(Number(from));
    if (this.faults.lies === true)
      bytes = Buffer.concat([bytes.subarray(0, -1), Buffer.from([~(bytes.at(-1) ?? 0) & 0xff])]);
    response.writeHead(from === null ? 200 : 206, { 'content-length': bytes.length });
    if ((this.faults.breaks ?? 0) === 0) return void response.end(bytes);
    this.faults.breaks = (this.faults.breaks ?? 0) - 1;
    response.write(bytes.subarray(0, Math.ceil(bytes.length / 2)), () => response.destroy());
  }
}
