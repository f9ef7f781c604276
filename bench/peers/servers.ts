/** The programs that SnapFaaS is measured beside. Versions are named, so that a number can be had again. */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { build } from 'esbuild';
import { freePort } from '../../test/support/free-port.ts';
import { PROJECT_ROOT } from '../../test/support/snapctr.ts';
import { builtFunction, whyWithoutLanguage } from '../../test/support/languages.ts';
import { hasRunc, RUNC_MISSING, RuncBundle } from '../support/runc.ts';
import { goProgram, npmPackages, pythonPackages } from './installed.ts';
import { NotInstalled } from './peer.ts';
import type { Command, Server } from './server-peer.ts';
import type { Workload } from './workloads.ts';

const BOTH = ['python3', 'nodejs'] as const;

/** Python finds the handler's packages, then those of the peer. */
const pythonPath = (place: string, ...more: readonly string[]): Readonly<Record<string, string>> => ({
  PYTHONPATH: [place, join(place, 'lib'), ...more].join(':'),
});

/** Copies the plain server to the place; @returns what runs it there. */
function plainServer({ language }: Workload, place: string): readonly [string, string] {
  const name = language === 'python3' ? 'plain-server.py' : 'plain-server.cjs';
  copyFileSync(join(PROJECT_ROOT, 'bench', 'peers', name), join(place, name));
  return [language === 'python3' ? 'python3' : process.execPath, name];
}

export const PLAIN: Server = {
  name: 'plain process',
  languages: BOTH,
  prepare(workload, place) {
    const [program, name] = plainServer(workload, place);
    return Promise.resolve({
      command: (port) => ({
        argv: [program, join(place, name)],
        environment: { ...pythonPath(place), PORT: String(port) },
      }),
    });
  },
};

/** The plain server in a container with the root file system of our VMs. */
export const RUNC: Server = {
  name: 'runc',
  languages: BOTH,
  whyNot: () => (hasRunc() ? false : RUNC_MISSING),
  prepare(workload, place) {
    const [, name] = plainServer(workload, place);
    const bundle = new RuncBundle(workload.language, place);
    return Promise.resolve({
      command: (port) =>
        bundle.server([`/usr/bin/${workload.language === 'python3' ? 'python3' : 'node'}`, `/srv/${name}`], {
          ...pythonPath('/srv'),
          PORT: String(port),
        }),
      remove: () => bundle.remove(),
    });
  },
};

const FUNCTIONS_FRAMEWORK_NODE = { '@google-cloud/functions-framework': '5.0.5' };
const FUNCTIONS_FRAMEWORK_PYTHON = { 'functions-framework': '3.10.2' };
const FRAMEWORK_MODULES = {
  python3: ['main.py', 'import measured\n\ndef entry(request):\n    return measured.handle(request.get_json())\n'],
  nodejs: [
    'index.js',
    "const { handle } = require('./measured');\nexports.entry = async (request, response) => response.json(await handle(request.body));\n",
  ],
} as const;

export const FUNCTIONS_FRAMEWORK: Server = {
  name: 'functions-framework',
  languages: BOTH,
  async prepare({ language }, place) {
    const [name, source] = FRAMEWORK_MODULES[language];
    writeFileSync(join(place, name), source);
    const common = ['--target', 'entry', '--source', language === 'python3' ? join(place, name) : place];
    if (language === 'python3') {
      const environment = pythonPath(place, await pythonPackages(FUNCTIONS_FRAMEWORK_PYTHON));
      const argv = ['python3', '-m', 'functions_framework', ...common, '--host', '127.0.0.1'] as const;
      return { command: (port) => ({ argv: [...argv, '--port', String(port)], environment }) };
    }
    const packages = await npmPackages(FUNCTIONS_FRAMEWORK_NODE);
    const program = join(packages, 'node_modules', '.bin', 'functions-framework');
    const argv = [process.execPath, program, ...common] as const;
    const environment = { HOST: '127.0.0.1', NODE_ENV: 'production' };
    return { command: (port) => ({ argv: [...argv, '--port', String(port)], environment }) };
  },
};

const WORKERD_PACKAGE = { '@cloudflare/workerd-linux-64': '1.20261117.1' };
const WORKER = `import { handle } from './measured.js';
export default { fetch: async (request) => Response.json(await handle(await request.json())) };
`;
const workerConfig = (port: number): string => `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker)],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "bundle.js")],
  compatibilityDate = "2026-10-01",
);
`;

export const WORKERD: Server = {
  name: 'workerd',
  languages: ['nodejs'],
  async prepare(_workload, place) {
    const packages = await npmPackages(WORKERD_PACKAGE);
    writeFileSync(join(place, 'worker.mjs'), WORKER);
    const entryPoints = [join(place, 'worker.mjs')];
    await build({ entryPoints, bundle: true, format: 'esm', outfile: join(place, 'bundle.js'), logLevel: 'error' });
    const program = join(packages, 'node_modules', '@cloudflare', 'workerd-linux-64', 'bin', 'workerd');
    return {
      command(port) {
        const config = join(place, `${port}.capnp`);
        writeFileSync(config, workerConfig(port));
        return { argv: [program, 'serve', config] };
      },
    };
  },
};

const EMULATOR = 'github.com/aws/aws-lambda-runtime-interface-emulator/cmd/aws-lambda-rie';
const EMULATOR_VERSION = 'v0.0.0-20261030222936-bef5c4ba774d';
const PYTHON_CLIENT = { awslambdaric: '4.2.2' };

/** AWS's emulator with AWS's clients of the Runtime API. */
export const LAMBDA_EMULATOR: Server = {
  name: "AWS's runtime interface emulator",
  languages: BOTH,
  path: '/2015-03-31/functions/function/invocations',
  // It is one execution environment, and refuses a second request meanwhile.
  connections: 1,
  async prepare({ language }, place) {
    const program = join(await goProgram(EMULATOR, EMULATOR_VERSION), 'aws-lambda-rie');
    const client = language === 'python3' ? await pythonClient(place) : await nodeClient(place);
    return {
      async command(port) {
        const addresses = [
          ...['--runtime-interface-emulator-address', `127.0.0.1:${port}`],
          ...['--runtime-api-address', `127.0.0.1:${await freePort()}`],
        ];
        const argv = [program, '--log-level', 'error', ...addresses, ...client.argv] as const;
        // Node's client looks for handlers there.
        return { argv, environment: client.environment ?? {}, directory: place };
      },
    };
  },
};

async function pythonClient(place: string): Promise<Command> {
  writeFileSync(
    join(place, 'app.py'),
    'import measured\n\ndef handler(event, context):\n    return measured.handle(event)\n',
  );
  const environment = pythonPath(place, await pythonPackages(PYTHON_CLIENT));
  return { argv: ['python3', '-m', 'awslambdaric', 'app.handler'], environment };
}

async function nodeClient(place: string): Promise<Command> {
  const why = whyWithoutLanguage('node');
  if (why !== false) throw new NotInstalled(why);
  // As the tests build it, with a Node and a program of its own that are not wanted here.
  for (const [path, content] of Object.entries(await builtFunction('node'))) {
    if (!path.startsWith('node_modules/')) continue;
    mkdirSync(dirname(join(place, path)), { recursive: true });
    writeFileSync(join(place, path), content);
  }
  writeFileSync(
    join(place, 'app.js'),
    "const { handle } = require('./measured');\nexports.handler = async (event) => handle(event);\n",
  );
  const client = join(place, 'node_modules', 'aws-lambda-ric', 'bin', 'index.mjs');
  return { argv: [process.execPath, client, 'app.handler'] };
}
