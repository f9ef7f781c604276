/** VMs with a network: real taps in a network namespace, in which the controller runs as well. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { source } from '../support/functions.ts';
import {
  createNamespace,
  namespaceProblem,
  type NetworkNamespace,
  type TcpServer,
} from '../support/network-namespace.ts';
import {
  assertNothingLeft,
  createWorkspace,
  environment,
  errorOf,
  FIRERUNNER,
  IMAGES,
  run,
  SNAPCTR,
  startController,
  type Answer,
  type RunningController,
  type Workspace,
} from '../support/snapctr.ts';
import { startOf } from '../support/snapshots.ts';
import { commandOf, isStartedAhead, until, vmmsOf, waitingQemusOf } from './processes.ts';

const problem = namespaceProblem();
if (problem !== null) process.stderr.write(`networks of VMs are not tested: ${problem}\n`);

/** More than fits into the buffers on the way. */
const SENT_BYTES = 300_000;

/** Tells what it sees of its network; given a port, connects to its gateway there. `hold`: answers so many ms later. */
const PYTHON = `
import os, socket, struct, time

def read(path):
    with open(path) as file:
        return file.read()

def gateway():
    for line in read('/proc/net/route').splitlines()[1:]:
        fields = line.split()
        if fields[1] == '00000000':
            return socket.inet_ntoa(struct.pack('<L', int(fields[2], 16)))

def connect(port):
    with socket.create_connection((gateway(), port), timeout=10) as stream:
        stream.sendall(b'x' * ${SENT_BYTES})
        stream.shutdown(socket.SHUT_WR)
        return {'own': stream.getsockname()[0], 'seen': stream.recv(100).decode()}

imported = connect(int(os.environ['PORT'])) if 'PORT' in os.environ else None

def handle(request):
    interfaces = sorted(os.listdir('/sys/class/net'))
    told = {'interfaces': interfaces, 'imported': imported, 'resolver': read('/etc/resolv.conf')}
    if 'eth0' in interfaces:
        told['mac'] = read('/sys/class/net/eth0/address').strip()
        told['ipv6'] = read('/proc/net/if_inet6').count('eth0')
    if 'port' in request:
        told.update(connect(request['port']))
    time.sleep(request.get('hold', 0) / 1000)
    return told
`;

const NODE = `
const { readFileSync } = require('node:fs');
const { connect } = require('node:net');
const { networkInterfaces } = require('node:os');
exports.handle = async ({ port, hold = 0 }) => {
  const { eth0 } = networkInterfaces();
  const route = readFileSync('/proc/net/route', 'utf8').split('\\n').map((line) => line.split('\\t')).find((one) => one[1] === '00000000');
  const gateway = Buffer.from(route[2], 'hex').reverse().join('.');
  const stream = connect(port, gateway);
  stream.setTimeout(10_000, () => stream.destroy(new Error('the server does not answer')));
  stream.end(Buffer.alloc(${SENT_BYTES}));
  let seen = '';
  let own = '';
  stream.on('connect', () => (own = stream.localAddress));
  for await (const chunk of stream) seen += chunk;
  await new Promise((resolve) => setTimeout(resolve, hold));
  return { mac: eth0[0].mac, own, seen };
};
`;

const NETWORK = ['network:', '  taps: sf{0..1}', '  subnet: 10.200.0.0/24', '  dns: 10.9.9.9'];

interface Told {
  readonly own: string;
  readonly seen: string;
  readonly mac: string;
}

const [FIRST, SECOND] = [
  { own: '10.200.0.1', seen: '10.200.0.1', mac: '02:00:0a:c8:00:01' },
  { own: '10.200.0.3', seen: '10.200.0.3', mac: '02:00:0a:c8:00:03' },
];

describe('networks of VMs', { skip: problem ?? false, timeout: 240_000 }, () => {
  let namespace: NetworkNamespace;
  let server: TcpServer;
  let workspace: Workspace;
  let controller: RunningController | null = null;

  before(async () => {
    namespace = createNamespace();
    server = await namespace.startTcpServer();
    workspace = createWorkspace(
      [
        source('python', 'python3', PYTHON, { network: true }),
        source('node', 'nodejs', NODE, { network: true }),
        source('other', 'python3', PYTHON, { network: true }),
        source('plain', 'python3', PYTHON),
      ],
      NETWORK,
    );
    assert.equal(network('up'), 0);
  });
  afterEach(async () => {
    if (controller === null) return;
    controller.kill('SIGTERM');
    assert.equal(await controller.exited, 0);
    controller = null;
    assert.deepEqual(tapsInUse(), [], 'every tap is given back');
  });
  after(async () => {
    try {
      controller?.kill('SIGKILL');
      await controller?.exited;
      await assertNothingLeft(workspace);
      assert.equal(network('down'), 0);
      workspace.remove();
    } finally {
      await server.close();
      namespace.remove();
    }
  });

  const network = (command: string): number | null =>
    namespace.run(process.execPath, SNAPCTR, 'network', command, '--config', workspace.config).status;
  /** Those with a VM at their end, as the kernel sees it. */
  const tapsInUse = (): readonly string[] => {
    const links = JSON.parse(namespace.run('ip', '-json', 'link', 'show').stdout) as {
      ifname: string;
      flags: string[];
    }[];
    return links.filter(({ ifname, flags }) => ifname !== 'lo' && flags.includes('LOWER_UP')).map((one) => one.ifname);
  };
  const start = async (snapshots: boolean, memoryMib = 1024): Promise<RunningController> => {
    controller = await startController(workspace, { vmm: 'qemu', namespace, snapshots, memoryMib });
    return controller;
  };
  /** Which of the two taps each of these VMs, which live at the same time, is at. */
  const assertAddresses = (answers: readonly Answer[]): void => {
    const told = answers.map(({ body, text }) => {
      const { own, seen, mac } = body as Partial<Told>;
      assert.ok(own !== undefined && seen !== undefined && mac !== undefined, text);
      return { own, seen, mac };
    });
    told.sort((a, b) => a.own.localeCompare(b.own));
    assert.deepEqual(told, [FIRST, SECOND]);
  };

  for (const [kind, snapshots] of [
    ['cold', false],
    ['restored', true],
  ] as const) {
    test(`two VMs at once have addresses of their own and reach the host: ${kind}`, async () => {
      const running = await start(snapshots);
      const before = server.connections.length;
      const event = { port: server.port };
      const answers = await Promise.all(['python', 'node'].map((name) => running.invoke(name, event)));
      assertAddresses(answers);
      assert.deepEqual(answers.map(startOf), [kind, kind]);
      assert.deepEqual(tapsInUse(), ['sf0', 'sf1']);
      assert.deepEqual(
        server.connections.slice(before).map(({ bytes }) => bytes),
        [SENT_BYTES, SENT_BYTES],
      );
    });
  }

  test('two VMs of one snapshot have addresses of their own', async () => {
    const running = await start(true);
    const event = { port: server.port, hold: 1000 };
    const answers = await Promise.all([running.invoke('python', event), running.invoke('python', event)]);
    assertAddresses(answers);
    assert.deepEqual(answers.map(startOf), ['restored', 'restored']);
  });

  test('a QEMU that waited for its machine has the tap, and its guest the address', async () => {
    const running = await start(true);
    const event = { port: server.port, hold: 500 };
    const first = running.invoke('python', event);
    const { runner_pid: firerunner } = await running.status();
    await until('one waits', () => waitingQemusOf(firerunner ?? 0).length > 0);
    const answers = [await running.invoke('node', event), await first];
    assertAddresses(answers);
    assert.deepEqual(answers.map(startOf), ['restored', 'restored']);
    const isAhead = vmmsOf(firerunner ?? 0).map((pid) => isStartedAhead(commandOf(pid)));
    assert.deepEqual(isAhead.sort(), [false, true]);
  });

  test('a guest has IPv4 alone, and the name server that is configured', async () => {
    const running = await start(true);
    const told = (await running.invoke('python', {})).body as Readonly<Record<string, unknown>>;
    assert.deepEqual(told['interfaces'], ['eth0', 'lo']);
    assert.equal(told['ipv6'], 0);
    assert.equal(told['resolver'], 'nameserver 10.9.9.9\n');
  });

  test('a function that does not ask for a network has the loopback interface alone', async () => {
    const running = await start(true);
    const answer = await running.invoke('plain', {});
    assert.deepEqual(answer.body, { interfaces: ['lo'], imported: null, resolver: '' });
    assert.deepEqual(tapsInUse(), []);
  });

  test('the import has a network as well, and what it made of it is in the snapshot', async () => {
    // Layers of its own: this one must be made now.
    const keys = { network: true, environment: `{PORT: '${server.port}'}` };
    const own = createWorkspace([source('importing', 'python3', PYTHON, keys)], [...NETWORK, 'snapshot_dir: layers']);
    const before = server.connections.length;
    try {
      controller = await startController(own, { vmm: 'qemu', namespace, snapshots: true });
      assert.equal(server.connections.length, before + 1, 'imported once, for the snapshot');
      const answer = await controller.invoke('importing', { port: server.port });
      assert.equal(startOf(answer), 'restored', answer.text);
      const { imported } = answer.body as { readonly imported: { readonly own: string } };
      assert.equal(imported.own, server.connections[before]?.from);
      assert.equal(await controller.stop(), 0);
      await assertNothingLeft(own);
    } finally {
      own.remove();
    }
  });

  test('when all taps are with busy VMs a request is refused, and others take those of idle VMs', async () => {
    const running = await start(true);
    const held = { port: server.port, hold: 6000 };
    const busy = [running.invoke('python', held), running.invoke('node', held)];
    await running.until(({ vms }) => vms['python']?.busy === 1 && vms['node']?.busy === 1, 30_000);
    const refused = await running.invoke('other', {});
    assert.equal(refused.status, 429, refused.text);
    assert.deepEqual(errorOf(refused), {
      code: 'resource_exhausted',
      message: 'other needs a network, and all 2 taps are in use; send it again later, or add to `network.taps`',
    });
    assert.equal((await running.invoke('plain', {})).status, 200, 'a function without a network needs none');
    assertAddresses(await Promise.all(busy));

    // The tap comes from the one that has been idle for longest, which ends first.
    const taken = await running.invoke('other', { port: server.port });
    assert.equal(taken.status, 200, taken.text);
    const { vms, counters } = await running.status();
    assert.equal(counters.evictions, 1);
    assert.equal(Object.keys(vms).filter((name) => name !== 'plain').length, 2);
    assert.deepEqual(tapsInUse(), ['sf0', 'sf1']);
  });

  test('firerunner puts one VM on the tap that it is told of', async () => {
    const image = join(workspace.directory, 'python.ext4');
    const built = await run(SNAPCTR, ['images', 'app', join(workspace.directory, 'apps/python'), '--out', image], {
      workspace,
    });
    assert.equal(built.status, 0, built.stderr);
    const files = ['--kernel', join(IMAGES, 'vmlinux'), '--rootfs', join(IMAGES, 'runtimefs/python3.ext4')];
    const machine = ['--vmm', 'qemu', ...files, '--appfs', image, '--mem_size', '128', '--vcpu_count', '1'];
    const tap = ['--tap_name', 'sf1', '--mac', '02:00:00:00:00:07', '--guest_ip', '10.200.0.3/31'];
    const [program, args] = namespace.inside(
      process.execPath,
      FIRERUNNER,
      ...machine,
      ...tap,
      '--gateway',
      '10.200.0.2',
    );
    const finished = spawnSync(program, args, {
      input: `${JSON.stringify({ payload: { port: server.port } })}\n`,
      env: environment(workspace),
      encoding: 'utf8',
    });
    assert.equal(finished.status, 0, finished.stderr);
    const { own, seen, mac } = JSON.parse(finished.stdout) as Told;
    assert.deepEqual({ own, seen, mac }, { ...SECOND, mac: '02:00:00:00:00:07' });
  });

  test('a tap that is missing or down fails the launch in words that name it', async () => {
    const running = await start(false);
    for (const [problem, args] of [
      ['is down', ['set', 'down']],
      ['does not exist', ['delete']],
    ] as const) {
      for (const name of ['sf0', 'sf1']) namespace.run('ip', 'link', args[0], name, ...args.slice(1));
      const answer = await running.invoke('python', {});
      assert.equal(errorOf(answer)?.code, 'vm_launch_failed', answer.text);
      assert.match(answer.text, new RegExp(`the tap sf[01] ${problem}; set the taps up with .*snapctr network up`));
    }
    assert.equal(network('up'), 0);
    assert.equal((await running.invoke('python', {})).status, 200, 'the same controller goes on');
  });
});
