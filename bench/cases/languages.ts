/**
 * Functions that bring AWS's library of their language: a Go hello restored and warm beside Python's, on QEMU; a Java hello restored beside
 * Java that is started as a plain process for its first answer, by the `process` driver.
 */
import { createWorkspace, startController, type TestFunction, type TestVmm } from '../../test/support/snapctr.ts';
import { builtFunction, whyWithoutLanguage, type Language } from '../../test/support/languages.ts';
import { median, result, summary, type Benchmark, type Result } from '../result.ts';
import { Client } from '../support/client.ts';
import { EVENT, EXIT_EVENT, HELLO } from '../support/hello.ts';
import { inTurns } from '../support/in-turns.ts';
import { sideBySide } from '../support/starts.ts';

const STARTS = 30;
const WARM = 1000;
const DISCARDED = 300;

/** What a request and the end of a VM are for a function. */
interface Asked {
  readonly fn: TestFunction<'python3' | 'provided'>;
  readonly event: unknown;
  readonly exit: unknown;
}

const PYTHON: Asked = {
  fn: { name: 'python', runtime: 'python3', files: HELLO.python3.files, keys: { memory: 128 } },
  event: EVENT,
  exit: EXIT_EVENT,
};

async function asked(language: Language, memory: number): Promise<Asked> {
  const keys = { handler: 'example.Asked::handleRequest', memory };
  const fn = { name: language, runtime: 'provided', files: await builtFunction(language), keys } as const;
  return { fn, event: { do: 'about' }, exit: { do: 'exit' } };
}

class LanguageBench {
  readonly #client: Client;
  readonly close: () => Promise<void>;

  private constructor(client: Client, close: () => Promise<void>) {
    this.#client = client;
    this.close = close;
  }

  static async open(vmm: TestVmm, functions: readonly Asked[]): Promise<LanguageBench> {
    const workspace = createWorkspace(
      functions.map(({ fn }) => fn),
      ['standby: 0'],
    );
    const controller = await startController(workspace, { vmm, memoryMib: 1024, snapshots: vmm === 'qemu' });
    const client = new Client(controller.url);
    return new LanguageBench(client, async () => {
      client.close();
      await controller.stop();
      workspace.remove();
    });
  }

  async request({ fn: { name }, event }: Asked): Promise<number> {
    const { status, text, tookMs } = await this.#client.invoke(name, event);
    if (status !== 200) throw new Error(`${name}: ${text}`);
    return tookMs;
  }

  /** The first request of a VM, which is ended then. */
  async start(of: Asked): Promise<number> {
    const took = await this.request(of);
    await this.#client.invoke(of.fn.name, of.exit);
    return took;
  }
}

async function go(): Promise<readonly Result[]> {
  const program = await asked('go', 128);
  const bench = await LanguageBench.open('qemu', [PYTHON, program]);
  try {
    const { python = [], own = [] } = await sideBySide(STARTS, {
      python: () => bench.start(PYTHON),
      own: () => bench.start(program),
    });
    const ways = [PYTHON, program].map((one) => () => bench.request(one));
    await inTurns(DISCARDED, ways);
    const [warmPython = [], warm = []] = await inTurns(WARM, ways);
    const bound = { at: 'most', value: 1.3 } as const;
    const note = `ms: Go ${summary(own)}; Python ${summary(python)}`;
    const warmNote = `ms: Go ${summary(warm)}; Python ${summary(warmPython)}`;
    return [
      result('go-restored', median(own) / median(python), 'ratio', bound, own, note),
      result('go-warm', median(warm) / median(warmPython), 'ratio', bound, [], warmNote),
    ];
  } finally {
    await bench.close();
  }
}

async function java(): Promise<readonly Result[]> {
  const program = await asked('java', 384);
  const restored = await LanguageBench.open('qemu', [program]);
  const plain = await LanguageBench.open('process', [program]);
  try {
    const samples = await sideBySide(STARTS, {
      restored: () => restored.start(program),
      plain: () => plain.start(program),
    });
    const { restored: vm = [], plain: host = [] } = samples;
    const note = `ms: restored ${summary(vm)}; started as a process ${summary(host)}`;
    return [result('java-restored', median(vm) / median(host), 'ratio', { at: 'most', value: 0.3 }, vm, note)];
  } finally {
    await restored.close();
    await plain.close();
  }
}

export const languages: Benchmark = {
  name: 'languages',
  async run() {
    const results: Result[] = [];
    for (const [language, measure] of [
      ['go', go],
      ['java', java],
    ] as const) {
      const why = whyWithoutLanguage(language);
      if (why === false) results.push(...(await measure()));
      else console.log(`languages: ${why}`);
    }
    return results;
  },
};
