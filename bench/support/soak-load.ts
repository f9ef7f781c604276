/** What a soak asks for: every kind of start and of end that a VM has, over and over. */
import type { TestFunction } from '../../test/support/snapctr.ts';
import { Client } from './client.ts';
import { openLoop } from './open-loop.ts';
import { seeded } from '../../src/workload/random.ts';

const PYTHON = `import os, time
def handle(request):
    print('ran ' + str(request['id']))
    time.sleep(request['ms'] / 1000)
    if request['end'] == 'exit':
        os._exit(3)
    if request['end'] == 'fail':
        raise ValueError(str(request['id']))
    return request['id']
`;
const NODE = `exports.handle = async (request) => {
  console.log('ran ' + request.id);
  await new Promise((resolve) => setTimeout(resolve, request.ms));
  if (request.end === 'exit') process.exit(3);
  if (request.end === 'fail') throw new Error(String(request.id));
  return request.id;
};
`;

const python = (name: string, memory = 128): TestFunction => ({
  ...{ name, runtime: 'python3', files: { 'workload.py': PYTHON }, keys: { memory, timeout: 20 } },
});
const node = (name: string, memory = 128): TestFunction => ({
  ...{ name, runtime: 'nodejs', files: { 'workload.js': NODE }, keys: { memory, timeout: 20 } },
});

export const SOAK_FUNCTIONS = [
  python('python-a'),
  python('python-b'),
  python('python-c', 192),
  node('node-a'),
  node('node-b', 256),
];
/** Less than all of them take. */
export const SOAK_MEMORY_MIB = 640;

/** Shares of the requests that end their VM, and that fail. */
const EXITS = 0.04;
const FAILURES = 0.1;
const LONGEST_RUN_MS = 40;
/** What may become of a request beside its answer, where more is asked for than fits. */
const REFUSALS: ReadonlySet<string> = new Set(['queue_full', 'resource_exhausted']);

interface Answer {
  readonly error?: { readonly code: string; readonly message: string };
}

export class SoakLoad {
  /** Requests by what became of them. */
  readonly endings = new Map<string, number>();
  /** Answers that nobody should get; the first few. */
  readonly wrong: string[] = [];
  readonly #client: Client;
  readonly #random = seeded(1);
  #tookMs: number[] = [];

  constructor(url: string) {
    this.#client = new Client(url);
  }

  run(rate: number, ms: number, signal: AbortSignal): Promise<void> {
    return openLoop(rate, { ms, signal }, (id) => this.#request(id));
  }

  /** How long the requests took that were answered since the last call, in ms. */
  takeTimes(): readonly number[] {
    const times = this.#tookMs;
    this.#tookMs = [];
    return times;
  }

  close(): void {
    this.#client.close();
  }

  async #request(id: number): Promise<void> {
    const fn = SOAK_FUNCTIONS[Math.floor(this.#random() * SOAK_FUNCTIONS.length)];
    const chance = this.#random();
    const end = chance < EXITS ? 'exit' : chance < EXITS + FAILURES ? 'fail' : 'return';
    const ms = Math.floor(this.#random() * LONGEST_RUN_MS);
    try {
      const { text, tookMs } = await this.#client.invoke(fn?.name ?? '', { id, ms, end });
      const ending = endingOf(JSON.parse(text), id, end);
      if (ending === null) this.#note('wrong', `request ${id}, which was to ${end}: ${text.slice(0, 300)}`);
      else this.#count(ending);
      if (!REFUSALS.has(ending ?? '')) this.#tookMs.push(tookMs);
    } catch (error) {
      this.#note('no answer', `request ${id}: ${String(error)}`);
    }
  }

  #count(ending: string): void {
    this.endings.set(ending, (this.endings.get(ending) ?? 0) + 1);
  }

  #note(ending: string, what: string): void {
    this.#count(ending);
    if (this.wrong.length < 10) this.wrong.push(what);
  }
}

/** What became of a request; null: what must not. */
function endingOf(answer: unknown, id: number, end: 'exit' | 'fail' | 'return'): string | null {
  if (end === 'return' && answer === id) return 'ok';
  const { error } = answer as Answer;
  if (error === undefined) return null;
  if (REFUSALS.has(error.code)) return error.code;
  if (end === 'fail' && error.code === 'function_error' && error.message === String(id)) return 'failed as asked';
  return end === 'exit' && ['vm_lost', 'function_error'].includes(error.code) ? 'ended its VM as asked' : null;
}
