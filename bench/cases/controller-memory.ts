/** Most memory of snapctr under clients that send much at once, and under one that does not read. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { createWorkspace, startController, type TestFunction } from '../../test/support/snapctr.ts';
import { result, type Benchmark, type Result } from '../result.ts';

const BOUND_MB = 400;
const CONNECTIONS = 2000;
/** Just below the largest request. */
const BODY_BYTES = 6 * 1024 * 1024 - 1024;
const UNREAD_ANSWERS = 1000;
/** How long each load lasts, in ms. */
const LOAD_MS = 20_000;

const FUNCTIONS: readonly TestFunction[] = [
  { name: 'length', runtime: 'nodejs', files: { 'workload.js': 'exports.handle = (text) => text.length;\n' } },
  { name: 'large', runtime: 'nodejs', files: { 'workload.js': `exports.handle = () => 'x'.repeat(${BODY_BYTES});\n` } },
];

function request(name: string, payload: string): Buffer {
  const body = `{"function":"${name}","payload":"${payload}"}`;
  return Buffer.from(`POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
}

async function open(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

/** Each sends its body, reads the answer, and sends it again. */
async function sendMuch(port: number): Promise<void> {
  const bytes = request('length', 'x'.repeat(BODY_BYTES));
  const sockets = await Promise.all(Array.from({ length: CONNECTIONS }, () => open(port)));
  for (const socket of sockets) {
    socket.write(bytes);
    socket.on('data', () => {
      if (socket.writableLength === 0) socket.write(bytes);
    });
  }
  await sleep(LOAD_MS);
  for (const socket of sockets) socket.destroy();
}

async function readNothing(port: number): Promise<void> {
  const socket = await open(port);
  socket.pause();
  socket.write(Buffer.concat(Array.from({ length: UNREAD_ANSWERS }, () => request('large', ''))));
  await sleep(LOAD_MS);
  socket.destroy();
}

async function mostMemory(name: string, load: (port: number) => Promise<void>): Promise<Result> {
  const workspace = createWorkspace(FUNCTIONS);
  const controller = await startController(workspace, { vmm: 'process' });
  try {
    await load(Number(new URL(controller.url).port));
    const kb = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${controller.pid}/status`, 'utf8'))?.[1];
    const mb = (Number(kb) * 1024) / 1e6;
    return result(name, mb, 'MB', { at: 'most', value: BOUND_MB }, [mb], `VmHWM of snapctr after ${LOAD_MS / 1000} s`);
  } finally {
    await controller.stop();
    workspace.remove();
  }
}

export const controllerMemory: Benchmark = {
  name: 'controller-memory',
  async run() {
    return [
      await mostMemory(`memory: ${CONNECTIONS} bodies of 6 MiB`, sendMuch),
      await mostMemory(`memory: ${UNREAD_ANSWERS} unread answers`, readNothing),
    ];
  },
};
