/** A network of its own for programs of a test: taps are made in it, and nothing of the host's network is touched. */
import { execFile, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

/** One exchange over HTTP: its request is the argument, its answer is printed. */
const FETCH = `
const { url, init } = JSON.parse(process.argv[1]);
const response = await fetch(url, init);
const headers = Object.fromEntries(response.headers);
process.stdout.write(JSON.stringify({ status: response.status, headers, text: await response.text() }));
`;

/** Answers each connection with the address it comes from, which it prints as well, once all was received. */
const TCP_SERVER = `
import { createServer } from 'node:net';
const server = createServer({ allowHalfOpen: true }, (socket) => {
  let bytes = 0;
  socket.on('data', (chunk) => (bytes += chunk.length)).on('error', () => {});
  socket.on('end', () => {
    console.log(JSON.stringify({ from: socket.remoteAddress, bytes }));
    socket.end(socket.remoteAddress);
  });
});
server.listen(0, '0.0.0.0', () => console.log(server.address().port));
`;

export interface NetworkNamespace {
  readonly name: string;
  /** A command that runs another one inside: its program and arguments. */
  inside(...command: readonly string[]): [program: string, args: string[]];
  /** Runs a program inside to its end. */
  run(command: string, ...args: readonly string[]): { status: number | null; stdout: string; stderr: string };
  /** As the global `fetch`, for text and without a signal. */
  fetch(url: string, init?: RequestInit): Promise<Response>;
  /** A server on all addresses inside. */
  startTcpServer(): Promise<TcpServer>;
  remove(): void;
}

export interface TcpServer {
  readonly port: number;
  /** Who has connected and how much was received, in order. */
  readonly connections: readonly { readonly from: string; readonly bytes: number }[];
  close(): Promise<void>;
}

/** Why namespaces and taps cannot be made here; null if they can. */
export function namespaceProblem(): string | null {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'network namespaces need root on Linux';
  if (!existsSync('/dev/net/tun')) return 'there is no /dev/net/tun (modprobe tun)';
  const name = nextName();
  const added = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' });
  if (added.error !== undefined) return 'iproute2 is not installed (apt-get install iproute2)';
  if (added.status !== 0) return `no network namespace can be made: ${added.stderr.trim()}`;
  const tap = spawnSync('ip', ['-n', name, 'tuntap', 'add', 'dev', 'probe0', 'mode', 'tap'], { encoding: 'utf8' });
  spawnSync('ip', ['netns', 'delete', name]);
  return tap.status === 0 ? null : `no tap can be made: ${tap.stderr.trim()}`;
}

let made = 0;

function nextName(): string {
  return `snapfaas-test-${process.pid}-${++made}`;
}

export function createNamespace(): NetworkNamespace {
  const name = nextName();
  execFileSync('ip', ['netns', 'add', name]);
  execFileSync('ip', ['-n', name, 'link', 'set', 'dev', 'lo', 'up']);
  const inside = (...command: readonly string[]): [string, string[]] => ['ip', ['netns', 'exec', name, ...command]];
  return {
    name,
    inside,
    run(command, ...args) {
      const [program, argv] = inside(command, ...args);
      const { status, stdout, stderr } = spawnSync(program, argv, { encoding: 'utf8' });
      return { status, stdout, stderr };
    },
    async fetch(url, init = {}) {
      const request = JSON.stringify({ url, init });
      const [program, argv] = inside(process.execPath, '--input-type=module', '-e', FETCH, request);
      const { stdout } = await promisify(execFile)(program, argv);
      const answer = JSON.parse(stdout) as { status: number; headers: Record<string, string>; text: string };
      return new Response(answer.text, { status: answer.status, headers: answer.headers });
    },
    async startTcpServer() {
      const [program, argv] = inside(process.execPath, '--input-type=module', '-e', TCP_SERVER);
      const child = spawn(program, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
      const exited = once(child, 'exit');
      const connections: { from: string; bytes: number }[] = [];
      const port = await new Promise<number>((resolve, reject) => {
        createInterface({ input: child.stdout }).on('line', (line) => {
          const value = JSON.parse(line) as number | { from: string; bytes: number };
          if (typeof value === 'number') resolve(value);
          else connections.push(value);
        });
        exited.then(() => reject(new Error('the server ended before it listened')), reject);
      });
      return {
        port,
        connections,
        async close() {
          child.kill('SIGKILL');
          await exited;
        },
      };
    },
    remove: () => void spawnSync('ip', ['netns', 'delete', name]),
  };
}
