import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../../end-to-end/processes.ts';
import { BenchOfMachines, boot, configure } from './bench-of-machines.ts';

let bench: BenchOfMachines;
before(async () => {
  bench = await BenchOfMachines.make();
});
after(() => bench.remove());

describe('fake firecracker: command line', () => {
  test('tells its version and its snapshot format', async () => {
    const version = bench.run(['--version']);
    assert.deepEqual([(await version.exited).status, version.stdout], [0, 'Firecracker v1.16.1\n\n']);
    const format = bench.run(['--snapshot-version']);
    assert.deepEqual([(await format.exited).status, format.stdout], [0, 'v10.0.0\n']);
  });

  test('plays older versions', async () => {
    const older = await BenchOfMachines.make({ version: '1.13.1' });
    const version = older.run(['--version']);
    assert.match((await version.exited, version.stdout), /^Firecracker v1\.13\.1\n/);
    const format = older.run(['--snapshot-version']);
    assert.equal((await format.exited, format.stdout), 'v8.0.0\n');
    const fake = await older.start();
    const load = { snapshot_path: 's', mem_backend: { backend_type: 'File', backend_path: 'm' } };
    const { body } = await fake.request('PUT', '/snapshot/load', { ...load, clock_realtime: true });
    assert.match(body, /unknown field `clock_realtime`/);
    await older.remove();
  });

  test('ends with 153 for flags that it does not know, that lack a value or come twice', async () => {
    for (const args of [['--unknown'], ['stray'], ['--id'], ['--id', 'a', '--id', 'b'], ['--api-sock', '--id', 'a']]) {
      assert.equal((await bench.run(args).exited).status, 153, args.join(' '));
    }
  });

  test('ends with 152 for a log level that is none', async () => {
    assert.equal((await bench.run(['--level', 'loud']).exited).status, 152);
  });

  test('aborts for an id that is not allowed', async () => {
    for (const id of ['under_score', '', 'x'.repeat(65)]) {
      assert.equal((await bench.run(['--api-sock', 'a.sock', '--id', id]).exited).signal, 'SIGABRT');
    }
  });
});

describe('fake firecracker: the end of a machine', () => {
  test('a probe prints its word on the console and ends with 0', async () => {
    const fake = await bench.start();
    await configure(fake, { bootArgs: 'console=ttyS0 reboot=k snapfaas.probe' });
    await fake.ok('PUT', '/actions', { action_type: 'InstanceStart' });
    assert.equal((await fake.exited).status, 0);
    assert.match(fake.stdout, /^snapfaas-probe-ok$/m);
  });

  test('a probe without a console prints nothing', async () => {
    const fake = await bench.start();
    await configure(fake, { bootArgs: 'reboot=k snapfaas.probe' });
    await fake.ok('PUT', '/actions', { action_type: 'InstanceStart' });
    assert.equal((await fake.exited).status, 0);
    assert.doesNotMatch(fake.stdout, /probe/);
  });

  test('Ctrl-Alt-Del is answered, and ends no guest that does not obey', async () => {
    const fake = await bench.start();
    await boot(fake);
    await fake.ok('PUT', '/actions', { action_type: 'SendCtrlAltDel' });
    await (await fake.dialGuest(1025)).next();
    assert.equal((await fake.request('GET', '/')).status, 200);
  });

  for (const [signal, status] of [
    ['SIGSYS', 148],
    ['SIGBUS', 149],
    ['SIGSEGV', 150],
    ['SIGXFSZ', 151],
    ['SIGXCPU', 154],
    ['SIGHUP', 156],
    ['SIGILL', 157],
  ] as const) {
    test(`${signal} is caught: it exits with ${status}`, async () => {
      const fake = await bench.start();
      await boot(fake);
      fake.child.kill('SIGPIPE');
      fake.child.kill(signal);
      assert.deepEqual(await fake.exited, { status, signal: null });
    });
  }

  test('warns on its console at each start, and repeats what it refuses', async () => {
    const fake = await bench.start();
    await boot(fake);
    assert.match(
      fake.stdout,
      /^\S+ \[\S+:fc_vcpu 0\] Received a VcpuEvent::Resume message with immediate_exit enabled/m,
    );
    const { body } = await fake.request('PUT', '/entropy', {});
    const { fault_message: message } = JSON.parse(body) as { readonly fault_message: string };
    await until('the copy is there', () => fake.stdout.includes(`Status code: 400 Bad Request. Message: ${message}`));
  });

  for (const signal of ['SIGTERM', 'SIGINT', 'SIGKILL'] as const) {
    test(`${signal} ends it at once, and its guest with it`, async () => {
      const fake = await bench.start();
      await boot(fake);
      await (await fake.dialGuest(1025)).next();
      fake.child.kill(signal);
      assert.equal((await fake.exited).signal, signal);
    });
  }

  test('its end takes along a guest that is frozen', async () => {
    const fake = await bench.start();
    await boot(fake);
    await (await fake.dialGuest(1025)).next();
    await fake.ok('PATCH', '/vm', { state: 'Paused' });
    await fake.kill();
  });
});

describe('fake firecracker: faults', () => {
  const inject = (fault: unknown): NodeJS.ProcessEnv => ({ FAKE_FIRECRACKER_FAULT: JSON.stringify(fault) });

  test('exit before the API listens, and a socket that comes late', async () => {
    const dead = bench.run(['--id', 'a'], bench.directory, inject({ at: 'start', do: 'exit', status: 148 }));
    assert.equal((await dead.exited).status, 148);
    const began = performance.now();
    await bench.start(bench.makeDirectory(), inject({ at: 'listen', do: 'delay', ms: 300 }));
    assert.ok(performance.now() - began >= 300);
  });

  test('a refusal, and an answer that is no JSON', async () => {
    const faults = [
      { at: 'PUT /entropy', do: 'refuse', text: 'no entropy today', times: 1 },
      { at: 'PUT /serial', do: 'garbage' },
    ];
    const fake = await bench.start(bench.makeDirectory(), inject(faults));
    assert.match((await fake.request('PUT', '/entropy', {})).body, /no entropy today/);
    assert.equal((await fake.request('PUT', '/entropy', {})).status, 204);
    const { body } = await fake.request('PUT', '/serial', {});
    assert.throws(() => JSON.parse(body));
  });

  test('death behind the answer', async () => {
    const fault = { at: 'PUT /entropy', when: 'after', do: 'signal', signal: 'SIGKILL' };
    const fake = await bench.start(bench.makeDirectory(), inject(fault));
    assert.equal((await fake.request('PUT', '/entropy', {})).status, 204);
    assert.equal((await fake.exited).signal, 'SIGKILL');
  });

  test('silence behind the answer', async () => {
    const fault = { at: 'PUT /entropy', when: 'after', do: 'hang' };
    const fake = await bench.start(bench.makeDirectory(), inject(fault));
    assert.equal((await fake.request('PUT', '/entropy', {})).status, 204);
    const later = fake.request('GET', '/').catch(() => 'broken off');
    assert.equal(await Promise.race([later, sleep(200, 'silence')]), 'silence');
    await fake.kill();
    assert.equal(await later, 'broken off');
  });

  test('death without an answer, in the first process only', async () => {
    const fault = { at: 'PUT /entropy', do: 'exit', status: 1, marker: join(bench.directory, 'once') };
    const first = await bench.start(bench.makeDirectory(), inject(fault));
    await assert.rejects(first.request('PUT', '/entropy', {}), /without an answer/);
    const second = await bench.start(bench.makeDirectory(), inject(fault));
    assert.equal((await second.request('PUT', '/entropy', {})).status, 204);
  });

  test('a flood on stdout', async () => {
    const fake = await bench.start(bench.makeDirectory(), inject({ at: 'start', do: 'flood', bytes: 300_000 }));
    await until('the flood is read', () => fake.stdout.length >= 300_000);
  });

  test('a fault that is none is told', async () => {
    const fake = bench.run(['--id', 'a'], bench.directory, inject({ at: 'start', do: 'nothing' }));
    assert.equal((await fake.exited).status, 1);
    assert.match(fake.stderr, /no fault as faults\.ts describes/);
  });

  test('the journal tells what happened', async () => {
    const fake = await bench.start();
    await fake.ok('PUT', '/entropy', {});
    await fake.kill();
    const lines = bench.journal().filter((line) => line.pid === fake.child.pid);
    assert.deepEqual(
      lines.map((line) => line.event),
      ['start', 'listen', 'request'],
    );
    assert.equal(lines[2]?.['path'], '/entropy');
  });
});
