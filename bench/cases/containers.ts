/**
 * What deploying a container image of 200 MB takes, from CreateFunction to the first answer: with nothing of it in the cache, and then
 * with its base there, which another function has brought, and a new layer on top.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CreateFunctionCommand, DeleteFunctionCommand, type LambdaClient } from '@aws-sdk/client-lambda';
import { partsOf } from '../../test/support/container-images.ts';
import { lambdaClient } from '../../test/support/lambda-client.ts';
import { TestRegistry } from '../../test/support/registry.ts';
import { createWorkspace, startController, TEST_CACHE } from '../../test/support/snapctr.ts';
import { median, result, summary, type Benchmark, type Result } from '../result.ts';
import { answeringProgram, baseLayer, imageOn } from '../support/large-image.ts';
import { ApiClient } from '../support/lambda-client.ts';

const SEED = 1;
const BASE_BYTES = 200_000_000;
const ROUNDS = 5;
/** Before it: with nothing in the cache. */
const FIRST = 0;
const BOUND_MS = 10_000;
const PATIENCE_MS = 180_000;
const PATH = 'tools/large';
const ROLE = 'arn:aws:iam::000000000000:role/any';

export const containers: Benchmark = {
  name: 'containers',
  async run() {
    mkdirSync(TEST_CACHE, { recursive: true });
    // Its own, so that nothing of the image is in it; on the disk that caches are on.
    const cache = mkdtempSync(join(TEST_CACHE, 'containers-'));
    const workspace = createWorkspace([]);
    const registry = await TestRegistry.start();
    try {
      const note = push(registry);
      const env = { XDG_CACHE_HOME: cache };
      const phases = new Phases();
      const onLogLine = (line: string): void => phases.see(line);
      const controller = await startController(workspace, { vmm: 'qemu', snapshots: true, env, onLogLine });
      const client = new ApiClient(controller.url);
      const sdk = lambdaClient(controller.url);
      try {
        const took: number[] = [];
        for (let round = FIRST; round <= ROUNDS; round += 1) {
          phases.begin();
          took.push(await deploy(sdk, client, `${registry.host}/${PATH}:${round}`, round));
          phases.end();
          // Of the function before nothing is under way when the next one comes.
          await controller.until(({ snapshots }) => snapshots.preparing === 0, PATIENCE_MS);
          await sdk.send(new DeleteFunctionCommand({ FunctionName: nameOf(round) }));
        }
        return results(took, note, phases);
      } finally {
        sdk.destroy();
        client.close();
        await controller.stop();
      }
    } finally {
      await registry.close();
      workspace.remove();
      rmSync(cache, { recursive: true, force: true });
    }
  },
};

/** An image for each round. @returns what they are, for a reader. */
function push(registry: TestRegistry): string {
  const base = baseLayer(SEED, BASE_BYTES);
  const program = answeringProgram();
  let packed = 0;
  for (let round = FIRST; round <= ROUNDS; round += 1) {
    const image = imageOn(base, program);
    if (round === FIRST) packed = partsOf(image).layers.reduce((sum, { bytes }) => sum + bytes.length, 0);
    registry.push(PATH, String(round), image);
  }
  const mb = (bytes: number): number => Math.round(bytes / 1e6);
  return `${mb(BASE_BYTES)} MB in ${base.files} files (seed ${SEED}), ${mb(packed)} MB packed`;
}

function results([first = Number.NaN, ...cached]: readonly number[], note: string, phases: Phases): readonly Result[] {
  const bound = { at: 'most', value: BOUND_MS } as const;
  return [
    result('container-first', first, 'ms', null, [first], `nothing cached: ${note}; ${phases.of(FIRST, FIRST + 1)}`),
    result(
      'container-cached-base',
      median(cached),
      'ms',
      bound,
      cached,
      `a new layer on it: ${summary(cached)}; ${phases.of(FIRST + 1)}`,
    ),
    result('container-cached-base-worst', Math.max(...cached), 'ms', bound, cached, 'the slowest of them'),
  ];
}

/** What the builder says that it goes over to, and what the time until then was spent on. */
const PHASES = [
  ['unpacking', 'finding the image'],
  ['making a file system', 'unpacking'],
  ['VM launched', 'file system and start of a VM'],
] as const;
const LAST_PHASE = 'answer';

/** Where the time of each round goes, by snapctr's log. */
class Phases {
  readonly #rounds: Map<string, number>[] = [];
  #since = 0;

  begin(): void {
    this.#rounds.push(new Map());
    this.#since = performance.now();
  }

  see(line: string): void {
    const found = PHASES.find(([said]) => line.includes(`"msg":"${said}`) || line.includes(`: ${said} `));
    if (found !== undefined) this.#over(found[1]);
  }

  end(): void {
    this.#over(LAST_PHASE);
  }

  /** The medians of rounds, in seconds. */
  of(from: number, to?: number): string {
    const rounds = this.#rounds.slice(from, to);
    const names = [...PHASES.map(([, name]) => name), LAST_PHASE];
    const seconds = (name: string): string =>
      (median(rounds.map((round) => round.get(name) ?? Number.NaN)) / 1000).toFixed(1);
    return names.map((name) => `${name} ${seconds(name)} s`).join(', ');
  }

  /** The first time in a round counts: the VM of a snapshot is not waited for. */
  #over(name: string): void {
    const round = this.#rounds.at(-1);
    if (round === undefined || round.has(name)) return;
    const now = performance.now();
    round.set(name, now - this.#since);
    this.#since = now;
  }
}

const nameOf = (round: number): string => `large-${round}`;

/** @returns how long it took to the first answer, in ms. */
async function deploy(sdk: LambdaClient, client: ApiClient, uri: string, round: number): Promise<number> {
  const FunctionName = nameOf(round);
  const began = performance.now();
  await sdk.send(
    new CreateFunctionCommand({ FunctionName, Role: ROLE, PackageType: 'Image', Code: { ImageUri: uri }, Timeout: 60 }),
  );
  const event = JSON.stringify({ round });
  for (;;) {
    const answer = await client.invoke(FunctionName, event).then(
      ({ body }) => body.toString(),
      (error: unknown) => String(error),
    );
    const tookMs = performance.now() - began;
    if (answer.startsWith(`{"event":${event}`)) return tookMs;
    if (tookMs > PATIENCE_MS) throw new Error(`${FunctionName} answers ${answer}`);
    await sleep(20);
  }
}
