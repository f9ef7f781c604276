/** Many clients at once, and what became of each of their requests. */
import { seeded } from '../../src/workload/random.ts';
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { source } from '../support/functions.ts';
import { errorOf, type RunningController, type TestFunction } from '../support/snapctr.ts';

const PYTHON = `import time
def handle(request):
    print('ran ' + request['id'])
    time.sleep(request['ms'] / 1000)
    if request['fail']:
        raise ValueError(request['id'])
    return request['id']
`;
const NODE = `exports.handle = async (request) => {
  console.log('ran ' + request.id);
  await new Promise((resolve) => setTimeout(resolve, request.ms));
  if (request.fail) throw new Error(request.id);
  return request.id;
};
`;

/** A function that prints its request's id, takes its time, and returns or throws the id. */
export function patient(
  name: string,
  runtime: TestFunction['runtime'],
  keys: Readonly<Record<string, string | number>> = {},
): TestFunction {
  return source(name, runtime, runtime === 'python3' ? PYTHON : NODE, keys);
}

/** "ok", an error code, or "no answer" if the connection ended before one. */
export type Ending = string;

const CLIENTS = 5;
/** A client that was refused comes back after this time, in ms. */
const REFUSED_PAUSE_MS = 20;
const REFUSALS: readonly Ending[] = ['no answer', 'resource_exhausted', 'vm_launch_failed'];

export class Load {
  /** Answered requests by how they ended. */
  readonly endings = new Map<Ending, number>();
  readonly #controller: RunningController;
  readonly #functions: readonly string[];
  readonly #clients: Promise<unknown>;
  #stopped = false;

  /** Starts at once. @param functions names of `patient` functions. */
  constructor(controller: RunningController, functions: readonly string[]) {
    this.#controller = controller;
    this.#functions = functions;
    this.#clients = Promise.all(Array.from({ length: CLIENTS }, (_, client) => this.#runClient(client)));
    this.#clients.catch(() => undefined);
  }

  count(ending: Ending): number {
    return this.endings.get(ending) ?? 0;
  }

  /**
   * Resolves when no request is under way any more.
   * @throws AssertionError if an answer was another request's, or a request ran twice.
   */
  async finish(): Promise<void> {
    this.#stopped = true;
    await this.#clients;
    const ran = this.#controller.log.flatMap((line) => /"text":"ran (\S+)\\n"/.exec(line)?.[1] ?? []);
    assert.equal(new Set(ran).size, ran.length, 'a request ran twice');
  }

  async #runClient(client: number): Promise<void> {
    const random = seeded(client);
    for (let number = 0; !this.#stopped; number += 1) {
      const id = `${client}.${number}`;
      const name = this.#functions[Math.floor(random() * this.#functions.length)] ?? '';
      const ending = await this.#ask(name, { id, ms: Math.floor(random() * 40), fail: random() < 0.2 });
      this.endings.set(ending, this.count(ending) + 1);
      if (REFUSALS.includes(ending)) await sleep(REFUSED_PAUSE_MS);
    }
  }

  async #ask(name: string, payload: { id: string; ms: number; fail: boolean }): Promise<Ending> {
    const answer = await this.#controller.invoke(name, payload).catch(() => null);
    if (answer === null) return 'no answer';
    const error = errorOf(answer);
    if (error === undefined) {
      assert.equal(answer.body, payload.id);
      assert.equal(payload.fail, false);
      return 'ok';
    }
    if (payload.fail && error.message === payload.id) return 'failed as asked';
    return error.code;
  }
}
