/** Invocations by the API of AWS Lambda and by our own, on one kept connection: an SDK takes longer than what is measured. */
import { Agent, request } from 'node:http';

export interface Timed {
  readonly body: Buffer;
  /** The header `x-snapfaas-start`; absent for streams that began before it was known. */
  readonly start: string | undefined;
  /** From the request to the first byte of the body, and to the last one, in ms. */
  readonly firstByteMs: number;
  readonly tookMs: number;
}

export class ApiClient {
  readonly #agent = new Agent({ keepAlive: true });
  readonly #url: URL;
  readonly #sign: (path: string, body: string) => Readonly<Record<string, string>>;

  /** @param sign makes further headers for each request, before its time begins. */
  constructor(url: string, sign: (path: string, body: string) => Readonly<Record<string, string>> = () => ({})) {
    this.#url = new URL(url);
    this.#sign = sign;
  }

  invoke(name: string, event: string): Promise<Timed> {
    return this.#post(`/2015-03-31/functions/${name}/invocations`, event);
  }

  stream(name: string, event: string): Promise<Timed> {
    return this.#post(`/2021-11-15/functions/${name}/response-streaming-invocations`, event);
  }

  native(name: string, event: string): Promise<Timed> {
    return this.#post('/', `{"function":${JSON.stringify(name)},"payload":${event}}`);
  }

  /** By the function's URL. */
  byUrl(name: string, body: string): Promise<Timed> {
    return this.#post(`/url/${name}/`, body);
  }

  close(): void {
    this.#agent.destroy();
  }

  #post(path: string, body: string): Promise<Timed> {
    const { hostname, port } = this.#url;
    const length = { 'content-length': String(Buffer.byteLength(body)) };
    const headers = { 'content-type': 'application/json', ...length, ...this.#sign(path, body) };
    return new Promise((resolve, reject) => {
      const began = performance.now();
      const call = request({ hostname, port, path, method: 'POST', agent: this.#agent, headers }, (response) => {
        const chunks: Buffer[] = [];
        let firstByteMs = 0;
        response.on('data', (chunk: Buffer) => {
          if (chunks.length === 0) firstByteMs = performance.now() - began;
          chunks.push(chunk);
        });
        response.on('error', reject);
        response.on('end', () => {
          const tookMs = performance.now() - began;
          const whole = Buffer.concat(chunks);
          const failed = response.headers['x-amz-function-error'];
          if (response.statusCode !== 200 && response.statusCode !== 202)
            reject(new Error(`${path}: ${response.statusCode} ${whole.toString()}`));
          else {
            const start = failed === undefined ? response.headers['x-snapfaas-start'] : 'failed';
            resolve({ body: whole, start: start === undefined ? undefined : String(start), firstByteMs, tookMs });
          }
        });
      });
      call.on('error', reject);
      call.end(body);
    });
  }
}
