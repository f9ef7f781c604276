/** The import of PyPI's packages in a cold VM, compiled when the function's image was made, beside compiled at the import. */
import { createWorkspace, startController, type TestFunction } from '../../test/support/snapctr.ts';
import { median, result, summary, type Benchmark } from '../result.ts';
import { Client } from '../support/client.ts';
import { EXIT_EVENT } from '../support/hello.ts';
import { sideBySide } from '../support/starts.ts';

/** VMs that are booted take seconds. */
const ROUNDS = 7;
const MEMORY_MIB = 256;

/** Python's own library is compiled in both. */
const WITHOUT_BYTECODE = `
import importlib._bootstrap_external as external
cache_from_source = external.cache_from_source
def of_library(path, *args, **kwargs):
    if not path.startswith('/usr/lib/'):
        raise NotImplementedError
    return cache_from_source(path, *args, **kwargs)
external.cache_from_source = of_library
`;

/** Answers with the CPU time of the import, in ms, and with how many of the packages' modules came from bytecode. */
const IMPORTING = `
import os, time
begun = time.process_time()
import pydantic, requests
took = (time.process_time() - begun) * 1000
def handle(request):
    if request['name'] == 'exit':
        os._exit(0)
    compiled = [os.path.exists(module.__spec__.cached or '') for module in (pydantic, requests)]
    return [took, compiled]
`;

function importing(name: string, prologue: string): TestFunction {
  const files = { 'requirements.txt': 'pydantic\nrequests\n', 'workload.py': `${prologue}${IMPORTING}` };
  return { name, runtime: 'python3', files, keys: { memory: MEMORY_MIB } };
}

export const pythonImport: Benchmark = {
  name: 'python-import',
  async run() {
    const workspace = createWorkspace([importing('compiled', ''), importing('source', WITHOUT_BYTECODE)]);
    const controller = await startController(workspace, {
      vmm: 'qemu',
      memoryMib: MEMORY_MIB,
      snapshots: false,
      args: ['--boot-timeout', '300'],
    });
    const client = new Client(controller.url);
    const importIn = async (name: string, isCompiled: boolean): Promise<number> => {
      const { status, text, start } = await client.invoke(name, { name: 'import' });
      if (status !== 200 || start !== 'cold') throw new Error(`${status}, the start was ${start}: ${text}`);
      const [took, compiled] = JSON.parse(text) as [number, readonly boolean[]];
      if (compiled.some((one) => one !== isCompiled)) throw new Error(`${name} came from elsewhere: ${text}`);
      await client.invoke(name, EXIT_EVENT);
      return took;
    };
    try {
      const { compiled = [], source = [] } = await sideBySide(ROUNDS, {
        compiled: () => importIn('compiled', true),
        source: () => importIn('source', false),
      });
      return [
        result(
          'python-import-compiled-vs-source',
          median(compiled) / median(source),
          'ratio',
          { at: 'most', value: 0.5 },
          compiled,
          `pydantic and requests, CPU time of a cold import in ms: ${summary(compiled)} beside ${summary(source)}`,
        ),
      ];
    } finally {
      client.close();
      await controller.stop();
      workspace.remove();
    }
  },
};
