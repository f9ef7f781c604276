/** A registry of npm packages on loopback, which remembers what it was asked for. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

type Json = Readonly<Record<string, unknown>>;

export class Registry {
  readonly url: string;
  readonly asked: { readonly path: string; readonly headers: IncomingHttpHeaders }[] = [];
  readonly #server: Server;
  readonly #manifests = new Map<string, Json>();
  readonly #archives = new Map<string, Buffer>();

  private constructor(server: Server) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    server.on('request', ({ url = '/', headers }, response) => {
      this.asked.push({ path: url, headers });
      const manifest = this.#manifests.get(decodeURIComponent(url.slice(1)));
      const body = manifest === undefined ? this.#archives.get(url) : JSON.stringify(manifest);
      response.writeHead(body === undefined ? 404 : 200).end(body);
    });
  }

  static async start(): Promise<Registry> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new Registry(server);
  }

  /**
   * Offers version 1.0.0 of a package.
   * @returns what a lock file has of it.
   */
  publish(name: string, more: Json = {}, files: Readonly<Record<string, string>> = {}): Json {
    const manifest = { name, version: '1.0.0', ...more };
    const directory = mkdtempSync(join(tmpdir(), 'snapfaas-package-'));
    mkdirSync(join(directory, 'package'));
    const all = { 'package.json': JSON.stringify(manifest), ...files };
    for (const [path, text] of Object.entries(all)) writeFileSync(join(directory, 'package', path), text);
    execFileSync('tar', ['-czf', 'archive.tgz', 'package'], { cwd: directory });
    const archive = readFileSync(join(directory, 'archive.tgz'));
    rmSync(directory, { recursive: true });
    const path = `/${name}/-/${name}-1.0.0.tgz`;
    const integrity = `sha512-${createHash('sha512').update(archive).digest('base64')}`;
    const dist = { tarball: `${this.url.slice(0, -1)}${path}`, integrity };
    this.#archives.set(path, archive);
    this.#manifests.set(name, {
      ...{ name, 'dist-tags': { latest: '1.0.0' } },
      versions: { '1.0.0': { ...manifest, dist } },
    });
    return { version: '1.0.0', resolved: dist.tarball, integrity, ...more };
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
