/** The host's side of Firecracker's handshake, against unix sockets that answer as the VMM does, and as it should not. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { ConnectAnswer, dialVsock, VsockError } from '../../src/protocol/vsock.ts';

const NEVER = new AbortController().signal;

describe('vsock', () => {
  let directory: string;
  let socketPath: string;
  let server: Server | null = null;
  const open = new Set<Socket>();

  /** Answers the n-th connection by the n-th function, the last one for all that follow. */
  const answerWith = async (...answers: ((socket: Socket, request: string) => void)[]): Promise<void> => {
    let connections = 0;
    server = createServer((socket) => {
      const answer = answers[Math.min(connections, answers.length - 1)];
      connections += 1;
      open.add(socket);
      socket.on('error', () => undefined);
      socket.once('data', (bytes: Buffer) => answer?.(socket, bytes.toString()));
    }).listen(socketPath);
    await once(server, 'listening');
  };

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'snapfaas-vsock-'));
    socketPath = join(directory, 'v.sock');
  });

  afterEach(async () => {
    for (const socket of open) socket.destroy();
    open.clear();
    if (server !== null) {
      server.close();
      await once(server, 'close');
    }
    server = null;
    rmSync(directory, { recursive: true });
  });

  test('asks for the port in one line and hands over what the guest says', async () => {
    let asked = '';
    await answerWith((socket, request) => {
      asked = request;
      socket.write('OK 1073741824\nhello');
    });
    const socket = await dialVsock({ socketPath, vsockPort: 1024 }, NEVER);
    assert.equal(asked, 'CONNECT 1024\n');
    assert.equal(String(((await once(socket.resume(), 'data')) as [Buffer])[0]), 'hello');
    socket.destroy();
  });

  test('refuses an answer that is too long, also if it comes in one piece', () => {
    const longest = Buffer.from(`OK ${'1'.repeat(28)}\nx`);
    assert.equal(new ConnectAnswer().push(longest)?.toString(), 'x');
    assert.throws(() => new ConnectAnswer().push(Buffer.from(`OK ${'1'.repeat(29)}\nx`)), VsockError);
  });

  test('takes an answer that comes byte by byte', async () => {
    await answerWith((socket) => {
      const bytes = 'OK 7\nab'.split(/(?=[^])/);
      const next = (): void => {
        const byte = bytes.shift();
        if (byte !== undefined) socket.write(byte, () => setImmediate(next));
      };
      next();
    });
    const socket = await dialVsock({ socketPath, vsockPort: 1 }, NEVER);
    let text = '';
    for await (const chunk of socket) {
      text += String(chunk);
      if (text === 'ab') break;
    }
    assert.equal(text, 'ab');
  });

  test('tries again while nobody listens in the guest', async () => {
    const refuse = (socket: Socket): void => void socket.end();
    await answerWith(refuse, refuse, refuse, (socket) => socket.write('OK 1\n'));
    const socket = await dialVsock({ socketPath, vsockPort: 1024 }, NEVER);
    socket.destroy();
  });

  test('tries again while the VMM has no socket yet', async () => {
    const dialled = dialVsock({ socketPath, vsockPort: 1024 }, NEVER);
    await answerWith((socket) => socket.write('OK 1\n'));
    (await dialled).destroy();
  });

  test('ends with the reason of the signal, and leaves no connection', async () => {
    await answerWith(() => undefined);
    const end = new AbortController();
    const dialled = dialVsock({ socketPath, vsockPort: 1024 }, end.signal);
    await once(server as Server, 'connection');
    end.abort(new Error('called off'));
    await assert.rejects(dialled, { message: 'called off' });
  });

  test('an answer that is no OK is an error that quotes it', async () => {
    await answerWith((socket) => socket.write('NO WAY\n'));
    await assert.rejects(dialVsock({ socketPath, vsockPort: 1024 }, NEVER), {
      name: 'VsockError',
      message: /"NO WAY"/,
    });
  });

  test('an answer without an end is not collected for ever', () => {
    const answer = new ConnectAnswer();
    assert.equal(answer.push(Buffer.from('OK 12')), null);
    assert.throws(() => answer.push(Buffer.from('3'.repeat(100))), VsockError);
  });
});
