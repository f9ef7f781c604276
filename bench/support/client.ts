/** A client that keeps its connections: `fetch` takes longer than what is measured. */
import { Agent, request } from 'node:http';

export interface Posted {
  readonly status: number;
  /** The header `x-snapfaas-start`. */
  readonly start: string;
  readonly text: string;
  /** From the request to the last byte of the answer, in ms. */
  readonly tookMs: number;
}

export class Client {
  readonly #agent = new Agent({ keepAlive: true });
  readonly #url: URL;

  /** @param url with the path that is posted to. */
  constructor(url: string) {
    this.#url = new URL(url);
  }

  invoke(name: string, payload: unknown): Promise<Posted> {
    return this.post(JSON.stringify({ function: name, payload }));
  }

  /** @param body JSON. */
  post(body: string): Promise<Posted> {
    const { hostname, port, pathname: path } = this.#url;
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    return new Promise((resolve, reject) => {
      const began = performance.now();
      const call = request({ hostname, port, path, method: 'POST', agent: this.#agent, headers }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const tookMs = performance.now() - began;
          const start = String(response.headers['x-snapfaas-start']);
          resolve({ status: response.statusCode ?? 0, start, text: Buffer.concat(chunks).toString(), tookMs });
        });
      });
      call.on('error', reject);
      call.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}
