/**
 * A request that finds no VM, from the client's side, beside `runc run` of the same handler on the same files where runc
 * is installed.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createWorkspace, IMAGES, startController, type TestFunction } from '../../test/support/snapctr.ts';
import { median, result, summary, type Benchmark, type Result } from '../result.ts';

const SAMPLES = 10;

interface Language {
  readonly runtime: 'python3' | 'nodejs';
  readonly file: string;
  readonly handler: string;
  /** A program that calls the handler once with the event of its last argument and prints the result. */
  readonly once: readonly string[];
}

const LANGUAGES: readonly Language[] = [
  {
    runtime: 'python3',
    file: 'workload.py',
    handler: "def handle(request):\n    return {'message': 'Hello, ' + request['name'] + '!'}\n",
    once: [
      '/usr/bin/python3',
      '-c',
      'import json, sys; sys.path.insert(0, "/srv"); import workload; print(json.dumps(workload.handle(json.loads(sys.argv[1]))))',
    ],
  },
  {
    runtime: 'nodejs',
    file: 'workload.js',
    handler: 'exports.handle = async (request) => ({ message: `Hello, ${request.name}!` });\n',
    once: [
      '/usr/bin/node',
      '-e',
      'require("/srv/workload").handle(JSON.parse(process.argv[1])).then((r) => console.log(JSON.stringify(r)))',
    ],
  },
];

const EVENT = { name: 'Ada' };
const EXPECTED = { message: 'Hello, Ada!' };

/** Two functions that fit only one at a time: each request evicts the other's VM and starts cold. */
async function coldStarts({ runtime, file, handler }: Language): Promise<number[]> {
  const names = ['left', 'right'];
  const workspace = createWorkspace(names.map((name): TestFunction => ({ name, runtime, files: { [file]: handler } })));
  const controller = await startController(workspace, { vmm: 'qemu', memoryMib: 128 });
  const samples: number[] = [];
  try {
    for (let i = 0; i <= SAMPLES; i += 1) {
      const start = performance.now();
      const answer = await controller.invoke(names[i % 2] ?? '', EVENT);
      const took = performance.now() - start;
      if (JSON.stringify(answer.body) !== JSON.stringify(EXPECTED)) throw new Error(`wrong answer: ${answer.text}`);
      if (answer.headers.get('x-snapfaas-start') !== 'cold') throw new Error('the start was not cold');
      // The first one warms the page cache.
      if (i > 0) samples.push(took);
    }
  } finally {
    await controller.stop();
    workspace.remove();
  }
  return samples;
}

function hasRunc(): boolean {
  try {
    execFileSync('runc', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** The same handler in a container with the same root file system. */
async function runcRuns({ runtime, file, handler, once }: Language): Promise<number[]> {
  const bundle = mkdtempSync(join(tmpdir(), 'snapfaas-runc-'));
  try {
    const rootfs = join(bundle, 'rootfs');
    mkdirSync(rootfs);
    execFileSync('debugfs', ['-R', `rdump / ${rootfs}`, join(IMAGES, 'runtimefs', `${runtime}.ext4`)], {
      stdio: 'ignore',
    });
    writeFileSync(join(rootfs, 'srv', file), handler);
    execFileSync('runc', ['spec', '--bundle', bundle]);
    const spec = JSON.parse(execFileSync('cat', [join(bundle, 'config.json')], { encoding: 'utf8' })) as {
      process: { terminal: boolean; args: readonly string[] };
    };
    spec.process.terminal = false;
    spec.process.args = [...once, JSON.stringify(EVENT)];
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(spec));
    const samples: number[] = [];
    for (let i = 0; i <= SAMPLES; i += 1) {
      const start = performance.now();
      const { stdout } = await promisify(execFile)('runc', [
        'run',
        '--bundle',
        bundle,
        `snapfaas-bench-${process.pid}`,
      ]);
      const took = performance.now() - start;
      if (JSON.stringify(JSON.parse(stdout)) !== JSON.stringify(EXPECTED)) throw new Error(`wrong answer: ${stdout}`);
      if (i > 0) samples.push(took);
    }
    return samples;
  } finally {
    rmSync(bundle, { recursive: true, force: true });
  }
}

export const coldStart: Benchmark = {
  name: 'cold-start',
  async run() {
    const results: Result[] = [];
    const runc = hasRunc();
    if (!runc)
      console.log('cold-start: runc is not installed (apt-get install runc), so there is nothing to compare with');
    for (const language of LANGUAGES) {
      const name = `cold-start-${language.runtime}`;
      const cold = await coldStarts(language);
      results.push(result(name, median(cold), 'ms', null, cold, `request to answer, VM booted: ${summary(cold)} ms`));
      if (!runc) continue;
      const container = await runcRuns(language);
      const ratios = cold.map((value) => value / median(container));
      const note = `VM ${summary(cold)} ms; runc run ${summary(container)} ms`;
      results.push(result(`${name}-vs-runc`, median(cold) / median(container), 'ratio', null, ratios, note));
    }
    return results;
  },
};
