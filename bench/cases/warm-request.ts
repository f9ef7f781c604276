/**
 * A warm `POST /` beside the same frame sent straight to the same VM: what the controller adds.
 *
 * One VM serves both in turns, because its function channel takes one connection at a time: straight, then through a
 * controller that was given this VM by a runner which launches nothing (`bench/existing-vm.js`), and so on.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { packApp } from '../../src/images/app-image.ts';
import { stageApp } from '../../src/images/app-stage.ts';
import { launchVm } from '../../src/firerunner/launch.ts';
import { openRunDirectory } from '../../src/firerunner/run-directory.ts';
import { chooseVmm } from '../../src/firerunner/vmm-choice.ts';
import { NO_SETTINGS } from '../../src/protocol/vmm-settings.ts';
import { FunctionChannel } from '../../src/protocol/function-channel.ts';
import type { GuestAddress } from '../../src/protocol/runner.ts';
import { IMAGES, PROJECT_ROOT } from '../../test/support/snapctr.ts';
import { startBare } from '../bare-server.ts';
import { median, result, summary, type Benchmark } from '../result.ts';

const ROUNDS = 4;
const REQUESTS = 1000;
/** Enough for the compilers of both sides to have seen the path. */
const DISCARDED = 1000;
const EVENT = Buffer.from('{"name":"Ada"}');

/** One request after the other; ms for each. */
async function measure(request: () => Promise<void>): Promise<number[]> {
  const samples: number[] = [];
  for (let i = 0; i < REQUESTS + DISCARDED; i += 1) {
    const start = performance.now();
    await request();
    if (i >= DISCARDED) samples.push(performance.now() - start);
  }
  return samples;
}

async function straight(guestAddress: GuestAddress): Promise<number[]> {
  const channel = await FunctionChannel.connect(guestAddress);
  try {
    return await measure(async () => {
      const reply = await channel.invoke({ id: 'bench', deadline_ms: Date.now() + 60_000 }, EVENT);
      if (!reply.ok) throw new Error(reply.failure.message);
    });
  } finally {
    channel.close();
  }
}

/** A keep-alive connection with as little client as possible, because the client is not what is measured. */
async function postOneByOne(port: number): Promise<number[]> {
  const socket = connect(port, '127.0.0.1');
  socket.setNoDelay(true);
  await once(socket, 'connect');
  const body = `{"function":"hello-python","payload":${EVENT.toString()}}`;
  const request = `POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  let onAnswer: (text: string) => void = () => undefined;
  let received = '';
  socket.setEncoding('latin1').on('data', (text: string) => {
    received += text;
    const head = received.indexOf('\r\n\r\n');
    const length = /\r\ncontent-length: (\d+)/i.exec(received)?.[1];
    if (head < 0 || length === undefined || received.length < head + 4 + Number(length)) return;
    const answer = received;
    received = '';
    onAnswer(answer);
  });
  const samples = await measure(async () => {
    const answered = new Promise<string>((resolve) => (onAnswer = resolve));
    socket.write(request);
    const answer = await answered;
    if (!answer.startsWith('HTTP/1.1 200')) throw new Error(answer);
  });
  socket.destroy();
  return samples;
}

async function throughController(guestAddress: GuestAddress): Promise<number[]> {
  const program = fileURLToPath(new URL('../existing-vm-controller.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', program, JSON.stringify(guestAddress)], {
    cwd: PROJECT_ROOT,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  try {
    const [port] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
    return await postOneByOne(Number(port));
  } finally {
    child.stdin.end();
    await once(child, 'exit');
  }
}

/** What any HTTP front on this machine takes at least: it says how much of the ratio is ours. */
async function bareRoundTrips(): Promise<number[]> {
  const bare = await startBare();
  try {
    return await postOneByOne(Number(new URL(bare.url).port));
  } finally {
    await bare.stop();
  }
}

export const warmRequest: Benchmark = {
  name: 'warm-request',
  async run() {
    const [kernelPath, initrdPath] = [join(IMAGES, 'vmlinux'), join(IMAGES, 'initrd.cpio')];
    const app = mkdtempSync(join(tmpdir(), 'snapfaas-bench-'));
    writeFileSync(
      join(app, 'workload.py'),
      "def handle(request):\n    return {'message': 'Hello, ' + request['name'] + '!'}\n",
    );
    const directory = await openRunDirectory();
    const { driver } = await chooseVmm({
      ...{ vmm: 'qemu', accelerator: 'auto', guest: { kernelPath, initrdPath }, settings: NO_SETTINGS },
      ...{ directory, say: () => undefined },
    });
    const samples = { straight: [] as number[], http: [] as number[] };
    const ratios: number[] = [];
    let guestAddress: GuestAddress = { socketPath: '', vsockPort: null };
    try {
      const vm = await launchVm({
        driver,
        spec: {
          machine: {
            memoryMib: 128,
            vcpus: 1,
            kernelPath,
            initrdPath,
            rootfsPath: join(IMAGES, 'runtimefs/python3.ext4'),
            appfsPath: (await packApp(await stageApp(app))).image,
            kernelArgs: '',
            runtime: 'python3',
            network: false,
          },
          function: { name: 'hello-python', version: '$LATEST', handler: null, environment: {}, arn: '' },
          bootTimeoutMs: 60_000,
          snapshots: null,
        },
        from: null,
        directory: await directory.create('bench'),
        taps: null,
        observer: {
          onChannel: (address) => (guestAddress = address),
          onLog: () => null,
          onRuntimeExited: () => undefined,
        },
        signal: new AbortController().signal,
      });
      try {
        for (let round = 0; round < ROUNDS; round += 1) {
          const direct = await straight(guestAddress);
          const http = await throughController(guestAddress);
          samples.straight.push(...direct);
          samples.http.push(...http);
          ratios.push(median(http) / median(direct));
        }
      } finally {
        await vm.kill();
      }
    } finally {
      directory.close();
      rmSync(app, { recursive: true });
    }
    const value = median(samples.http) / median(samples.straight);
    const bare = summary(await bareRoundTrips());
    const note = `ms: POST / ${summary(samples.http)}; straight to the VM ${summary(samples.straight)}; bare node:http ${bare}`;
    return [result('warm-request', value, 'ratio', { at: 'most', value: 1.25 }, ratios, note)];
  },
};
