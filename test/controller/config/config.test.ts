import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { ConfigError, loadConfig, type Config, type ConfigContext } from '../../../src/controller/config/config.ts';
import type { FunctionConfig } from '../../../src/registry/function-version.ts';

const CONTROLLER = `kernel_path: images/vmlinux
runtimefs_dir: images/runtimefs
appfs_dir: apps
snapshot_dir: images/snapshots
function_config: functions.yaml
`;
const FUNCTIONS = '- {name: hello, runtime: python3, appfs: hello}\n';

/** Files of a small installation; a test changes some of them. Null leaves a file out. */
const FILES: Readonly<Record<string, string>> = {
  'controller.yaml': CONTROLLER,
  'functions.yaml': FUNCTIONS,
  'images/vmlinux': '',
  'images/initrd.cpio': '',
  'images/runtimefs/python3.ext4': '',
  'images/runtimefs/nodejs.ext4': '',
  'apps/hello/workload.py': '',
  'apps/hello.ext4': '',
};

type Changes = Readonly<Record<string, string | Buffer | null>>;

function inInstallation<T>(changes: Changes, use: (directory: string) => T): T {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-config-'));
  try {
    for (const [name, contents] of Object.entries({ ...FILES, ...changes })) {
      if (contents === null) continue;
      mkdirSync(dirname(join(directory, name)), { recursive: true });
      writeFileSync(join(directory, name), contents);
    }
    return use(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function load(directory: string, context: Partial<ConfigContext> = {}): Config {
  return loadConfig(join(directory, 'controller.yaml'), {
    memoryMib: 1024,
    hostMemoryMib: 4096,
    vmm: 'qemu',
    cwd: directory,
    ...context,
  });
}

/** The problems as lines, with the directory taken out, and whether they stop the controller. */
function problems(
  changes: Changes,
  context: Partial<ConfigContext> = {},
): { readonly stop: boolean; readonly lines: readonly string[] } {
  return inInstallation(changes, (directory) => {
    const shown = (line: string): string => line.replaceAll(`${directory}/`, '');
    try {
      const { broken, functions } = load(directory, context);
      assert.ok(broken.length > 0, 'the configuration was accepted');
      for (const { name } of broken) assert.equal(functions.has(name ?? ''), false);
      return { stop: false, lines: broken.flatMap((one) => one.problems).map(shown) };
    } catch (error) {
      assert(error instanceof ConfigError, String(error));
      assert.equal(error.message.split('\n').length, error.problems.length);
      return { stop: true, lines: error.message.split('\n').map(shown) };
    }
  });
}

function only(functions: string, context: Partial<ConfigContext> = {}): FunctionConfig {
  return inInstallation({ 'functions.yaml': functions }, (directory) => {
    const [first] = load(directory, context).functions.values();
    return first ?? assert.fail('no function');
  });
}

test('config: event sources and their servers, whose credentials are beside the file', () => {
  const sources =
    '[{stream: S, subject: "a.>", start: 2026-05-01T08:00:00+02:00, on_failure: hello}, {stream: S, start: new}]';
  const changes = {
    'controller.yaml': `${CONTROLLER}nats: {servers: "nats://127.0.0.1:4222", credentials: nats.creds}\n`,
    'functions.yaml': `- {name: hello, runtime: python3, event_sources: ${sources}}\n`,
  };
  inInstallation(changes, (directory) => {
    const { nats, eventSources } = load(directory);
    assert.deepEqual(nats, {
      servers: ['nats://127.0.0.1:4222'],
      credentialsPath: join(directory, 'nats.creds'),
      caPath: null,
    });
    const shared = { qualifier: null, batchSize: 100, batchingWindowS: 0, parallelizationFactor: 1 };
    const rest = { reportsFailures: false, bisectsBatches: false, maximumRetryAttempts: -1, isEnabled: true };
    const [first, second] = eventSources.get('hello') ?? [];
    assert.deepEqual(first, {
      ...{ stream: 'S', subject: 'a.>', ...shared, ...rest, onFailure: 'hello' },
      ...{ startingPosition: 'AT_TIMESTAMP', startingTimestamp: '2026-05-01T06:00:00.000Z' },
    });
    assert.deepEqual([second?.startingPosition, second?.startingTimestamp], ['LATEST', null]);
  });
  const twice = {
    ...changes,
    'functions.yaml': '- {name: hello, runtime: python3, event_sources: [{stream: S}, {stream: S}]}\n',
  };
  assert.match(problems(twice).lines.join(), /two are of the stream S and the same subject; leave one out/);
});

test('config: the smallest useful files, and the defaults', () => {
  inInstallation({}, (directory) => {
    const { functions, ...config } = load(directory);
    assert.deepEqual(config, {
      urls: new Map(),
      events: new Map(),
      schedules: new Map(),
      eventSources: new Map(),
      nats: null,
      broken: [],
      memoryMib: 1024,
      kernelPath: join(directory, 'images/vmlinux'),
      initrdPath: join(directory, 'images/initrd.cpio'),
      maxPayloadBytes: 6 * 1024 * 1024,
      queueCapacity: 1024,
      queueWaitMs: 500,
      queueTimeoutMs: 300_000,
      requestMemoryMib: 256,
      keepAlive: 'demand',
      standbyMib: 256,
      lambda: { region: 'us-east-1', accountId: '000000000000' },
      retention: { maxBytes: 10 * 1024 ** 3, maxAgeMs: 7 * 24 * 3600 * 1000 },
      snapshotDirectory: join(directory, 'images/snapshots'),
      runtimefsDirectory: join(directory, 'images/runtimefs'),
      vmmSettings: {
        qemu: { prestarted: Math.min(availableParallelism(), 8) },
        ...{ firecracker: { path: null, prestarted: 2 }, jailer: null, network: null },
      },
      files: [join(directory, 'controller.yaml'), join(directory, 'functions.yaml')],
      notes: [],
    });
    assert.deepEqual(Object.fromEntries(functions), {
      hello: {
        name: 'hello',
        version: '$LATEST',
        runtime: 'python3',
        runtimefsPath: join(directory, 'images/runtimefs/python3.ext4'),
        appfs: { kind: 'directory', path: join(directory, 'apps/hello') },
        vcpus: 1,
        memoryMib: 128,
        concurrencyLimit: null,
        layers: [],
        snapshotLayers: null,
        network: false,
        timeoutMs: 60_000,
        handler: null,
        environment: {},
      },
    });
    assert(existsSync(join(directory, 'images/snapshots')), 'snapshot_dir is created');
  });
});

test('config: layers, in their order', () => {
  const { layers } = only('- {name: f, runtime: python3, appfs: hello, layers: [hello.ext4, hello]}\n');
  assert.deepEqual(
    layers.map((path) => path.split('/').slice(-2).join('/')),
    ['apps/hello.ext4', 'apps/hello'],
  );
});

test('config: a URL, with what is allowed to pages', () => {
  const short = '{name: short, runtime: nodejs, url: {auth: aws_iam}}';
  const cors =
    '{allow_origins: ["*"], allow_methods: [GET], allow_headers: [a], expose_headers: [b], allow_credentials: true, max_age: 5}';
  const long = `{name: long, runtime: nodejs, url: {auth: none, invoke_mode: response_stream, cors: ${cors}}}`;
  inInstallation({ 'functions.yaml': `- ${short}\n- ${long}\n- {name: without, runtime: nodejs}\n` }, (directory) => {
    const { urls } = load(directory);
    assert.deepEqual([...urls.keys()], ['short', 'long']);
    assert.deepEqual(urls.get('short'), { authType: 'AWS_IAM', invokeMode: 'BUFFERED', cors: null });
    assert.deepEqual(urls.get('long'), {
      authType: 'NONE',
      invokeMode: 'RESPONSE_STREAM',
      cors: {
        ...{ allowOrigins: ['*'], allowMethods: ['GET'], allowHeaders: ['a'], exposeHeaders: ['b'] },
        ...{ allowCredentials: true, maxAgeS: 5 },
      },
    });
  });
});

test('config: how events are tried, and who is told of their end', () => {
  const some = '{name: some, runtime: nodejs, events: {retries: 0, on_success: "file:done.jsonl", on_failure: other}}';
  const aged = '{name: aged, runtime: nodejs, events: {max_age: 60, on_failure: "https://example.com/hook"}}';
  inInstallation({ 'functions.yaml': `- ${some}\n- ${aged}\n- {name: without, runtime: nodejs}\n` }, (directory) => {
    const { events } = load(directory);
    assert.deepEqual([...events.keys()], ['some', 'aged']);
    assert.deepEqual(events.get('some'), {
      ...{ maximumRetryAttempts: 0, maximumEventAgeS: null },
      ...{ onSuccess: 'file:done.jsonl', onFailure: 'other' },
    });
    assert.deepEqual(events.get('aged'), {
      ...{ maximumRetryAttempts: null, maximumEventAgeS: 60 },
      ...{ onSuccess: null, onFailure: 'https://example.com/hook' },
    });
  });
});

test('config: everything set', () => {
  const controller = `${CONTROLLER}initrd_path: /dev/null\nmax_payload: 1000\nqueue_capacity: 7\nstandby: 300
lambda: {region: eu-west-1, account_id: "123456789012"}
network: {taps: [tap0], subnet: 10.0.0.0/31}\n`;
  const functions = `
- name: A.b_c-9
  runtime: nodejs
  runtimefs: python3.ext4
  appfs: hello.ext4
  handler: src/app.main
  vcpus: 32
  memory: 1024
  concurrency_limit: 3
  timeout: 1.5
  network: true
  environment: {LEVEL: "1", _empty: ""}
`;
  inInstallation({ 'controller.yaml': controller, 'functions.yaml': functions }, (directory) => {
    const config = load(directory);
    assert.deepEqual([config.initrdPath, config.maxPayloadBytes, config.queueCapacity], ['/dev/null', 1000, 7]);
    assert.equal(config.standbyMib, 300);
    assert.deepEqual(config.vmmSettings.network, { taps: ['tap0'], subnet: '10.0.0.0/31', dns: null });
    assert.deepEqual(config.lambda, { region: 'eu-west-1', accountId: '123456789012' });
    assert.deepEqual(config.functions.get('A.b_c-9'), {
      name: 'A.b_c-9',
      version: '$LATEST',
      runtime: 'nodejs',
      runtimefsPath: join(directory, 'images/runtimefs/python3.ext4'),
      appfs: { kind: 'image', path: join(directory, 'apps/hello.ext4') },
      vcpus: 32,
      memoryMib: 1024,
      concurrencyLimit: 3,
      timeoutMs: 1500,
      handler: 'src/app.main',
      environment: { LEVEL: '1', _empty: '' },
      layers: [],
      snapshotLayers: null,
      network: true,
    });
  });
});

test('config: plain processes have the network of the host anyway', () => {
  const functions = '- {name: f, runtime: python3, network: true}\n- {name: g, runtime: python3, network: true}\n';
  inInstallation({ 'functions.yaml': functions }, (directory) => {
    const config = load(directory, { vmm: 'process' });
    assert.deepEqual(
      [...config.functions.values()].map(({ network }) => network),
      [false, false],
    );
    assert.match(config.notes.join('\n'), /functions\.yaml:1:\d+: `network` \(here and in 1 more\): has no effect/);
  });
});

test('config: Firecracker and its jail', () => {
  const controller = `${CONTROLLER}
firecracker: {path: bin/firecracker, prestarted: 0}
qemu: {prestarted: 5}
jailer:
  path: /opt/jailer
  uid_range: 100000-100199
  gid: 5000
  chroot_base: jails
  cgroup: {memory.max: 536870912, cpu.max: 50000 100000}
`;
  inInstallation({ 'controller.yaml': controller }, (directory) => {
    const { vmmSettings, notes } = load(directory, { vmm: 'auto' });
    assert.deepEqual(vmmSettings, {
      qemu: { prestarted: 5 },
      firecracker: { path: join(directory, 'bin/firecracker'), prestarted: 0 },
      jailer: {
        path: '/opt/jailer',
        firstUid: 100_000,
        uidCount: 200,
        gid: 5000,
        chrootBase: join(directory, 'jails'),
        cgroup: { 'memory.max': '536870912', 'cpu.max': '50000 100000' },
      },
      network: null,
    });
    assert.deepEqual(notes, []);
    assert.match(load(directory, { vmm: 'qemu' }).notes.join('\n'), /`jailer` has no effect: it is Firecracker's/);
  });
});

test('config: it is frozen', () => {
  inInstallation({}, (directory) => {
    const config = load(directory);
    const fn = config.functions.get('hello');
    assert(Object.isFrozen(config) && Object.isFrozen(config.notes) && Object.isFrozen(fn));
    assert(Object.isFrozen(fn?.environment) && Object.isFrozen(fn?.appfs));
  });
});

test('config: a handler whose file is not there is noted', () => {
  const noted = (functions: string, files: Changes = {}): readonly string[] =>
    inInstallation(
      { 'functions.yaml': functions, 'apps/js/lib/app.mjs': '', ...files },
      (directory) => load(directory).notes,
    );
  assert.deepEqual(
    noted(
      '- {name: a, runtime: python3, appfs: hello}\n- {name: b, runtime: nodejs, appfs: js, handler: lib/app.x.y}\n',
    ),
    [],
  );
  assert.match(
    noted('- {name: f, runtime: nodejs, appfs: hello}\n').join(),
    /^\S*functions\.yaml:1:\d+: `appfs`: has no workload\.js but workload\.py, for which the runtime is python3$/,
  );
  assert.match(
    noted('- {name: f, runtime: python3, appfs: hello, handler: pkg.app.f}\n').join(),
    /has no pkg\/app\.py; correct `handler`, or add the file$/,
  );
  assert.deepEqual(
    noted('- {name: f, runtime: python3, appfs: hello, handler: pkg.f}\n', { 'apps/hello/pkg/__init__.py': '' }),
    [],
  );
});

test('config: files of the original load from its working directory, with notes on what has no effect', () => {
  inInstallation({}, (directory) => {
    const place = join(directory, 'resources');
    cpSync(join(import.meta.dirname, 'fixtures/original'), place, { recursive: true });
    for (const file of ['images/appfs/greet-python.ext2', 'images/runtimefs/node-rootfs.img']) {
      mkdirSync(dirname(join(directory, file)), { recursive: true });
      writeFileSync(join(directory, file), '');
    }
    const config = loadConfig('resources/controller.yaml', {
      memoryMib: 512,
      hostMemoryMib: 1024,
      vmm: 'auto',
      cwd: directory,
    });
    assert.deepEqual([...config.functions.keys()], ['greet-python', 'greet-node', 'resize']);
    assert.equal(config.kernelPath, join(directory, 'images/vmlinux'));
    const { 'greet-python': python, 'greet-node': node } = Object.fromEntries(config.functions);
    assert.deepEqual([python?.runtime, python?.appfs?.kind, python?.concurrencyLimit], ['python3', 'image', null]);
    assert.deepEqual([node?.runtime, node?.appfs, node?.concurrencyLimit, node?.vcpus], ['nodejs', null, 4, 2]);
    const notes = config.notes.join('\n');
    assert.match(
      notes,
      /resources\/controller\.yaml:3:1: `kernel_path` is not beside this file; taken from the working/,
    );
    assert.match(notes, /resources\/controller\.yaml:2:1: `firerunner_path` has no effect/);
    assert.match(notes, /resources\/functions\.yaml:6:\d+: `concurrency_limit`: 0 means no limit/);
    assert.match(
      notes,
      /resources\/functions\.yaml:7:3: `load_dir` \(here and in 1 more\): has no effect; .* is no directory/,
    );
    for (const key of [
      'diff_dirs',
      'copy_base',
      'copy_diff',
      'dump_ws',
      'load_ws',
      'kernel',
      'cmdline',
      'dump_dir',
      'users',
      'expected_running_time',
    ]) {
      assert.match(notes, new RegExp(`\`${key}\`: has no effect`));
    }
  });
});

test('config: paths may be file URLs', () => {
  inInstallation({}, (directory) => {
    const controller = CONTROLLER.replace('images/vmlinux', `file://localhost${directory}/images/vmlinux`).replace(
      'appfs_dir: apps',
      `appfs_dir: "file://${directory}/apps"`,
    );
    writeFileSync(join(directory, 'controller.yaml'), controller);
    assert.equal(load(directory).kernelPath, join(directory, 'images/vmlinux'));
  });
});

const accepted: readonly (readonly [title: string, functions: string, key: keyof FunctionConfig, value: unknown])[] = [
  ['an empty appfs is none', '- {name: f, runtime: python3, appfs: ""}', 'appfs', null],
  ['a missing appfs is none', '- {name: f, runtime: python3}', 'appfs', null],
  ['a key without a value is as good as none', '- {name: f, runtime: python3, timeout: , vcpus: }', 'vcpus', 1],
  ['the runtime is told by the image: python', '- {name: f, runtimefs: python3.ext4}', 'runtime', 'python3'],
  ['the runtime is told by the image: node', '- {name: f, runtimefs: nodejs.ext4}', 'runtime', 'nodejs'],
  ['a limit of 0 is none', '- {name: f, runtime: python3, concurrency_limit: 0}', 'concurrencyLimit', null],
  ['the longest timeout', '- {name: f, runtime: python3, timeout: 1800}', 'timeoutMs', 1_800_000],
  ['the shortest timeout', '- {name: f, runtime: python3, timeout: 0.001}', 'timeoutMs', 1],
  ...[
    '.build/v1.2/index.handler',
    './src/index.handler',
    '@scope/a/index.handler',
    '"my dir/ünï.handler"',
    'no-dot',
    '../a.b',
  ].map(
    (name) =>
      [
        `the handler ${name}`,
        `- {name: f, runtime: nodejs, handler: ${name.startsWith('@') ? `"${name}"` : name}}`,
        'handler',
        name.replaceAll('"', ''),
      ] as const,
  ),
  ['a handler in a package', '- {name: f, runtime: python3, handler: a/b-c.d.main}', 'handler', 'a/b-c.d.main'],
  [
    'anchors and aliases',
    '- &f {name: f, runtime: python3, environment: &e {A: x}}\n- {name: g, runtime: python3, environment: *e}',
    'name',
    'f',
  ],
];
for (const [title, functions, key, value] of accepted) {
  test(`config: ${title}`, () => {
    assert.deepEqual(only(functions)[key], value);
  });
}

test("config: an image's manifest tells its runtime better than its name", () => {
  const changes = {
    'functions.yaml': '- {name: f, runtimefs: my-python.img}\n- {name: g, runtimefs: other.img}\n',
    'images/runtimefs/my-python.img': '',
    'images/runtimefs/my-python.img.json': '{"runtime": "nodejs"}',
    'images/runtimefs/other.img': '',
    'images/runtimefs/other.img.json': 'no JSON',
  };
  inInstallation(changes, (directory) => {
    const { functions } = load(directory);
    assert.deepEqual([functions.get('f')?.runtime, functions.get('g')?.runtime], ['nodejs', null]);
  });
  assert.match(
    problems(changes, { vmm: 'process' }).lines.join('\n'),
    /^functions\.yaml:2:24: function `g`: the language is not known.*`runtime: python3`/,
  );
});

test('config: plain processes need neither kernel nor images', () => {
  inInstallation(
    {
      'images/vmlinux': null,
      'images/initrd.cpio': null,
      'images/runtimefs/python3.ext4': null,
      'images/runtimefs/nodejs.ext4': null,
    },
    (directory) => {
      assert.equal(load(directory, { vmm: 'process' }).functions.size, 1);
    },
  );
});

interface Refusal {
  readonly title: string;
  readonly changes: Changes;
  readonly context?: Partial<ConfigContext>;
  /** The expected problems, all of them, in any order. */
  readonly messages: readonly RegExp[];
  /** They are one function's: the others are served. */
  readonly breaksFunction?: true;
}

function withController(contents: string, ...messages: RegExp[]): Omit<Refusal, 'title'> {
  return { changes: { 'controller.yaml': contents }, messages };
}

function withFunctions(contents: string, ...messages: RegExp[]): Omit<Refusal, 'title'> {
  return { changes: { 'functions.yaml': contents }, messages, breaksFunction: true };
}

/** As a file, whatever its entries are. */
function withFunctionList(contents: string, ...messages: RegExp[]): Omit<Refusal, 'title'> {
  return { changes: { 'functions.yaml': contents }, messages };
}

const f = 'name: f, runtime: python3';
const urlRefusals: readonly (readonly [url: string, message: RegExp])[] = [
  ['true', /`url` must be a map with `auth`, not the boolean true/],
  ['{}', /`url\.auth` is missing; it must be `none` or `aws_iam`/],
  ['{auth: NONE}', /`url\.auth` must be `none` or `aws_iam`, not "NONE"/],
  ['{auth: none, mode: x}', /unknown key `mode`/],
  ['{auth: none, invoke_mode: fast}', /must be `buffered` or `response_stream`, not "fast"/],
  ['{auth: none, cors: {max_age: -1}}', /`url\.cors\.max_age` must be a whole number of seconds from 0 to 86400/],
  ['{auth: none, cors: {allow_origins: "*"}}', /`url\.cors\.allow_origins` must be a list of origins/],
  [
    '{auth: none, cors: {allow_origins: [https://a.example/]}}',
    /`url\.cors\.allow_origins` has "https:\/\/a.example\/", which is not valid: .* without a path/,
  ],
  [
    '{auth: none, cors: {allow_methods: [get]}}',
    /allow_methods` has "get", which is not valid: an allowed method is one of \*, GET/,
  ],
  ['{auth: none, cors: {allow_headers: ["a\\r\\nb"]}}', /it is no name of a header/],
];
const eventsRefusals: readonly (readonly [events: string, message: RegExp])[] = [
  ['3', /`events` must be a map with `retries`, `max_age`, `on_success` and `on_failure`, not the number 3/],
  ['{retries: 3}', /`events\.retries` must be a whole number of further tries from 0 to 2, not the number 3/],
  ['{max_age: 59}', /`events\.max_age` must be a whole number of seconds from 60 to 21600/],
  ['{on_sucess: other}', /unknown key `on_sucess`; did you mean `on_success`/],
  ...['"file:../x"', '"file:"', '"ftp://host/"', '"http://"', '"a b"', '""'].map((place) => {
    return [`{on_failure: ${place}}`, /`events\.on_failure` must be a function by its name, a file as in/] as const;
  }),
];
const s = 'name: s, expression: rate(1 day)';
const schedulesRefusals: readonly (readonly [schedules: string, message: RegExp])[] = [
  ['{}', /`schedules` must be a list of schedules, not a map/],
  ['[daily]', /`schedules\.0` must be a map with `name`, `expression` and, if wanted, .*, not "daily"/],
  ['[{name: s}]', /`schedules\.0\.expression` is missing; it must be a schedule such as/],
  ['[{expression: rate(1 day)}]', /`schedules\.0\.name` is missing; it must be 1 to 64 letters, digits/],
  ['[{name: a/b, expression: rate(1 day)}]', /`schedules\.0\.name` must be 1 to 64 letters.*not "a\/b"/],
  [`[{name: ${'s'.repeat(65)}, expression: rate(1 day)}]`, /`schedules\.0\.name` must be 1 to 64 letters/],
  [`[{${s}, timezone: UTC}]`, /unknown key `timezone`/],
  [`[{${s}, missed: all}]`, /`schedules\.0\.missed` must be `once` or `skip`, not "all"/],
  [`[{${s}, start: tomorrow}]`, /`schedules\.0\.start` must be a moment such as `2026-05-01T08:00:00Z`/],
  [`[{${s}, end: "2026-05-01"}]`, /`schedules\.0\.end` must be a moment such as/],
  [`[{${s}, start: "2026-05-02T00:00:00Z", end: "2026-05-01T00:00:00Z"}]`, /schedule "s": its end is before its start/],
  [`[{${s}, time_zone: Europe/Atlantis}]`, /schedule "s": there is no time zone "Europe\/Atlantis"; give one such as/],
  ['[{name: s, expression: at(2026-05-01T08:00:00)}]', /schedule "s": "at\(.*\)" is no schedule; give one as rate/],
  ['[{name: s, expression: rate(1 days)}]', /schedule "s": rate\(1 days\): give a number and a unit/],
  ['[{name: s, expression: cron(0 8 * * * *)}]', /schedule "s": /],
  [`[{${s}}, {${s}}]`, /two schedules are named "s"; give one another name/],
  [`[{${s}, input: ${'x'.repeat(32 * 1024 - 1)}}]`, /schedule "s": its input has 32769 bytes; at most 32768 are taken/],
  [`[${schedulesOf(101)}]`, /`schedules` has more than 100 schedules/],
];

const eventSourcesRefusals: readonly (readonly [sources: string, message: RegExp])[] = [
  ['{}', /`event_sources` must be a list of event sources, not a map/],
  ['[{}]', /`event_sources\.0\.stream` is missing; it must be the name of a stream/],
  ['[{stream: a.b}]', /`event_sources\.0\.stream` must be the name of a stream/],
  ['[{stream: S, subject: a..b}]', /`event_sources\.0\.subject` must be a subject such as/],
  ['[{stream: S, batch_size: 10001}]', /`event_sources\.0\.batch_size` must be a whole number of messages/],
  ['[{stream: S, batching_window: 301}]', /`event_sources\.0\.batching_window` must be a whole number of seconds/],
  ['[{stream: S, parallel: 0}]', /`event_sources\.0\.parallel` must be a whole number of batches from 1 to 10/],
  ['[{stream: S, start: old}]', /`event_sources\.0\.start` must be `all`, `new`, or a moment/],
  ['[{stream: S, retries: -1}]', /`event_sources\.0\.retries` must be a whole number from 0/],
  ['[{stream: S, on_failure: "file:../x"}]', /`event_sources\.0\.on_failure` must be a function by its name/],
  ['[{stream: S}]', /`event_sources` needs NATS servers; name them by `nats` in the controller's file/],
];
const natsRefusals: readonly (readonly [nats: string, message: RegExp])[] = [
  ['{}', /`nats\.servers` is missing; it must be the URL of a NATS server, or a list/],
  ['{servers: []}', /`nats\.servers` must be the URL of a NATS server/],
  ['{servers: "http://a:1"}', /`nats\.servers` must be the URL of a NATS server/],
  ['{servers: "nats://me:secret@a:1"}', /`nats\.servers` must be the URL of a NATS server/],
  ['{servers: "nats://a:1", password: x}', /unknown key `password`/],
];

/** In YAML, between brackets. */
function schedulesOf(count: number): string {
  return Array.from({ length: count }, (_, n) => `{name: s${n}, expression: rate(1 day)}`).join(', ');
}
const refusals: readonly Refusal[] = [
  ...schedulesRefusals.map(([schedules, message]) => ({
    title: `\`schedules\` of ${schedules.slice(0, 60)}`,
    ...withFunctions(`- {${f}, schedules: ${schedules}}\n`, message),
  })),
  ...eventSourcesRefusals.map(([sources, message]) => ({
    title: `\`event_sources\` of ${sources}`,
    ...withFunctions(`- {${f}, event_sources: ${sources}}\n`, message),
  })),
  ...natsRefusals.map(([nats, message]) => ({
    title: `\`nats\` of ${nats}`,
    ...withController(`${CONTROLLER}nats: ${nats}\n`, message),
  })),
  ...eventsRefusals.map(([events, message]) => ({
    title: `events ${events}`,
    ...withFunctions(`- {${f}, events: ${events}}\n`, message),
  })),
  ...urlRefusals.map(([url, message]) => ({
    title: `a URL ${url}`,
    ...withFunctions(`- {${f}, url: ${url}}\n`, message),
  })),
  {
    title: 'a missing file',
    changes: { 'controller.yaml': null },
    messages: [/^controller\.yaml: cannot be read: there is no such file/],
  },
  {
    title: 'a file that is not UTF-8',
    changes: { 'controller.yaml': Buffer.from([0x61, 0xff]) },
    messages: [/^controller\.yaml: is not valid UTF-8/],
  },
  { title: 'an empty file', ...withController('', /^controller\.yaml:1:1: must be a map of keys/) },
  {
    title: 'a list',
    ...withController(
      '- a\n',
      /^controller\.yaml:1:1: this is a list of functions; --config takes the controller's file/,
    ),
  },
  { title: 'broken YAML', ...withController(`${CONTROLLER}x: [1\n`, /^controller\.yaml:7:1: not valid YAML: /) },
  ...['k: ', '- ', '? ', '[', '{a: ', '[\n  '].map((level) => ({
    title: `30,000 of ${JSON.stringify(level)} in each other`,
    ...withController(`${CONTROLLER}x:\n  ${level.repeat(30_000)}\n`, /^controller\.yaml:\d+:\d+: .*\d+ levels deep/),
  })),
  {
    title: 'an alias without an anchor',
    ...withController(`${CONTROLLER}x: *y\n`, /^controller\.yaml:\d+:\d+: not (valid|usable) YAML.*y/),
  },
  {
    title: 'a duplicate key',
    ...withController(`${CONTROLLER}appfs_dir: apps\n`, /^controller\.yaml:6:1: the key `appfs_dir` is there twice/),
  },
  {
    title: 'a misspelt key',
    ...withController(
      `${CONTROLLER}max_paylod: 1\n`,
      /^controller\.yaml:6:1: unknown key `max_paylod`; did you mean `max_payload`\?/,
    ),
  },
  {
    title: 'letters that changed places',
    ...withFunctions('- {nmae: f, runtime: python3}\n', /unknown key `nmae`; did you mean `name`\?/),
  },
  {
    title: 'more standby than memory',
    ...withController(
      `${CONTROLLER}standby: 2048\n`,
      /^controller\.yaml:6:10: `standby` of 2048 MB is over the 1024 MB/,
    ),
  },
  {
    title: 'a tab',
    ...withController(
      `${CONTROLLER}lambda:\n\tregion: x\n`,
      /^controller\.yaml:7:\d+: not valid YAML: tabs cannot indent/,
    ),
  },
  {
    title: 'a directory of a similar name',
    ...withFunctions('- {name: f, runtime: python3, appfs: helo}\n', /correct the name \(did you mean hello\?\)/),
  },
  {
    title: 'an image of a similar name',
    ...withFunctions(
      '- {name: f, runtime: python3, runtimefs: python.ext4}\n',
      /build it with .*, or correct the name \(did you mean python3\.ext4\?\)/,
    ),
  },
  {
    title: 'an unknown key',
    ...withController(`${CONTROLLER}zebra: 1\n`, /^controller\.yaml:6:1: unknown key `zebra`; remove it/),
  },
  {
    title: '__proto__',
    ...withController(`${CONTROLLER}__proto__: 1\n`, /^controller\.yaml:6:1: unknown key `__proto__`; remove it/),
  },
  {
    title: 'a missing key',
    ...withController(
      CONTROLLER.replace(/^appfs_dir.*\n/m, ''),
      /^controller\.yaml:1:1: `appfs_dir` is missing; it must be a path/,
    ),
  },
  {
    title: 'a path that is no text',
    ...withController(
      CONTROLLER.replace('images/vmlinux', '[a]'),
      /^controller\.yaml:1:14: `kernel_path` must be a path, not a list/,
    ),
  },
  {
    title: 'a missing kernel',
    changes: { 'images/vmlinux': null },
    messages: [
      /^controller\.yaml:1:14: `kernel_path`: .*vmlinux does not exist; build it with `snapctr images build kernel`/,
    ],
  },
  {
    title: 'a missing initial RAM disk',
    changes: { 'images/initrd.cpio': null },
    messages: [/^controller\.yaml:1:14: the initial RAM disk .*initrd\.cpio does not exist; build it/],
  },
  {
    title: 'a kernel that is a directory',
    ...withController(CONTROLLER.replace('images/vmlinux', 'images'), /images is no file; build it/),
  },
  {
    title: 'a missing directory of functions',
    ...withController(
      CONTROLLER.replace('apps', 'app'),
      /^controller\.yaml:3:12: `appfs_dir`: .*app does not exist; create it/,
    ),
  },
  {
    title: 'a URL of another host',
    ...withController(
      CONTROLLER.replace('images/vmlinux', 'file://elsewhere/v'),
      /^controller\.yaml:1:14: `kernel_path` must be a path or a URL such as file:\/\/localhost/,
    ),
  },
  {
    title: 'a URL of another kind',
    ...withController(
      CONTROLLER.replace('images/vmlinux', 'https://localhost/v'),
      /^controller\.yaml:1:14: .*file:\/\/localhost/,
    ),
  },
  {
    title: 'a payload limit over 6 MiB',
    ...withController(
      `${CONTROLLER}max_payload: 6291457\n`,
      /^controller\.yaml:6:14: `max_payload` must be .* from 1 to 6291456 \(6 MiB\), not the number 6291457/,
    ),
  },
  {
    title: 'an empty queue',
    ...withController(
      `${CONTROLLER}queue_capacity: 0\n`,
      /^controller\.yaml:6:17: `queue_capacity` must be a whole number/,
    ),
  },
  {
    title: 'a misspelt key of the jail',
    ...withController(
      `${CONTROLLER}jailer: {uid_range: 100000-100009, chrootbase: /x}\n`,
      /^controller\.yaml:6:36: unknown key `chrootbase`; did you mean `chroot_base`\?/,
    ),
  },
  {
    title: 'a jail without users',
    ...withController(
      `${CONTROLLER}jailer: {chroot_base: /x}\n`,
      /`jailer.uid_range` is missing; it must be two user ids/,
    ),
  },
  {
    title: 'a jail whose users end before they begin',
    ...withController(
      `${CONTROLLER}jailer: {uid_range: 2000-1999}\n`,
      /`jailer.uid_range` must be two user ids .* not "2000-1999"/,
    ),
  },
  {
    title: 'a jail whose users belong to the system',
    ...withController(
      `${CONTROLLER}jailer: {uid_range: 0-10}\n`,
      /`jailer.uid_range` must be two user ids from 1000 on/,
    ),
  },
  {
    title: 'a jail whose users would all be taken by VMMs that wait',
    ...withController(
      `${CONTROLLER}firecracker: {prestarted: 4}\njailer: {uid_range: 2000-2003}\n`,
      /^controller\.yaml:7:21: `jailer.uid_range` has 4 users, .* 4 VMMs that are started ahead \(`firecracker.prestarted`\)/,
    ),
  },
  {
    title: 'a limit that is no file of a cgroup',
    ...withController(
      `${CONTROLLER}jailer: {uid_range: 2000-2001, cgroup: {../x: 1}}\n`,
      /must be the name of a file of a cgroup, such as `memory.max`/,
    ),
  },
  {
    title: 'a limit that the jailer cannot take',
    ...withController(
      `${CONTROLLER}jailer: {uid_range: 2000-2001, cgroup: {io.max: "8:0 rbps=1048576"}}\n`,
      /`jailer\.cgroup\.io\.max` must be a number or a string without `=`/,
    ),
  },
  {
    title: 'a limit that is empty',
    ...withController(
      `${CONTROLLER}jailer: {uid_range: 2000-2001, cgroup: {memory.max: ""}}\n`,
      /`jailer\.cgroup\.memory\.max` must be a number or a string without `=`/,
    ),
  },
  {
    title: 'too many VMMs started ahead',
    ...withController(
      `${CONTROLLER}firecracker: {prestarted: 1001}\n`,
      /`firecracker.prestarted` must be a whole number/,
    ),
  },
  {
    title: 'QEMUs started ahead that are no number',
    ...withController(
      `${CONTROLLER}qemu: {prestarted: 1.5}\n`,
      /`qemu.prestarted` must be a whole number from 0 to 1000/,
    ),
  },
  {
    title: 'settings of QEMU that are no map',
    ...withController(`${CONTROLLER}qemu: 2\n`, /`qemu` must be a map with `prestarted`/),
  },
  {
    title: 'a missing function list',
    changes: { 'functions.yaml': null },
    messages: [/^controller\.yaml:5:18: `function_config`: .*does not exist/],
  },
  {
    title: 'a snapshot directory that cannot be',
    ...withController(
      CONTROLLER.replace('images/snapshots', 'images/vmlinux/x'),
      /^controller\.yaml:4:15: `snapshot_dir` cannot be created: /,
    ),
  },
  {
    title: 'too little memory',
    changes: {},
    context: { memoryMib: 64 },
    messages: [/^--mem 64: must be a whole number of MB, at least 128/, /`memory` of 128 MB is over the 64 MB/],
  },
  {
    title: 'more memory than there is',
    changes: {},
    context: { memoryMib: 8192 },
    messages: [/^--mem 8192: this host has 4096 MB; give less/],
  },

  {
    title: 'a function list that is no list',
    ...withFunctionList('name: f\n', /^functions\.yaml:1:1: must be a list of functions/),
  },
  { title: 'an empty function list', ...withFunctionList('', /^functions\.yaml:1:1: must be a list of functions/) },
  {
    title: 'a function that is no map',
    ...withFunctions('- f\n', /^functions\.yaml:1:3: function 1: must be a map of keys.*"f"/),
  },
  {
    title: 'a misspelt function key',
    ...withFunctions(
      `- ${f.replace(', ', '\n  ')}\n  memroy: 128\n`,
      /^functions\.yaml:3:3: function `f`: unknown key `memroy`; did you mean `memory`\?/,
    ),
  },
  {
    title: 'a key in the style of flags',
    ...withFunctions(`- {${f}, concurrency-limit: 1}\n`, /did you mean `concurrency_limit`\?/),
  },
  {
    title: 'a duplicate function key',
    ...withFunctionList(`- {${f}, name: g}\n`, /^functions\.yaml:1:31: the key `name` is there twice/),
  },
  {
    title: 'a function without a name',
    ...withFunctions('- runtime: python3\n', /^functions\.yaml:1:3: function 1: `name` is missing; it must be 1 to 64/),
  },
  {
    title: 'a name that is a number',
    ...withFunctions(
      '- {name: 1, runtime: python3}\n',
      /^functions\.yaml:1:10: function 1: `name` must be 1 to 64 .*not the number 1/,
    ),
  },
  {
    title: 'a name with a space',
    ...withFunctions('- {name: a b, runtime: python3}\n', /`name` must be 1 to 64 letters.*"a b"/),
  },
  {
    title: 'a name of 65 letters',
    ...withFunctions(`- {name: ${'n'.repeat(65)}, runtime: python3}\n`, /`name` must be 1 to 64/),
  },
  {
    title: 'two functions of one name',
    ...withFunctions(
      `- {${f}}\n- {name: g, runtime: python3}\n- {${f}}\n`,
      /^functions\.yaml:3:10: the name `f` is taken by the function on line 1/,
    ),
  },
  {
    title: 'neither runtime nor image',
    ...withFunctions(
      '- {name: f}\n',
      /^functions\.yaml:1:10: function `f`: there is neither `runtime` nor `runtimefs`; add/,
    ),
  },
  {
    title: 'an unknown runtime',
    ...withFunctions(
      '- {name: f, runtime: java}\n',
      /^functions\.yaml:1:22: function `f`: `runtime` must be `python3` or `nodejs` or `provided` or `nodejs20.x` or `nodejs22.x` or `java17` or `java21` or `provided.al2023` or `provided.al2`, not "java"/,
    ),
  },
  {
    title: 'a missing image of ours',
    changes: { 'images/runtimefs/python3.ext4': null, 'functions.yaml': `- {${f}}\n- {name: g, runtime: python3}\n` },
    messages: [
      /^functions\.yaml:1:22: function `f`: the image .*python3\.ext4 does not exist; build it with `snapctr images build python3`/,
      /^functions\.yaml:2:22: function `g`: the image .*python3\.ext4 does not exist/,
    ],
    breaksFunction: true,
  },
  {
    title: 'Java without a handler',
    ...withFunctions(
      '- {name: f, runtime: java17, appfs: hello}\n',
      /^functions\.yaml:1:22: function `f`: functions of Java have no usual handler; add `handler`, such as/,
    ),
  },
  {
    title: 'Java without virtual machines',
    changes: { 'functions.yaml': '- {name: f, runtime: java17, appfs: hello, handler: a.B}\n' },
    context: { vmm: 'process' },
    messages: [
      /^functions\.yaml:1:22: function `f`: Java runs in virtual machines only, which --vmm process has none of/,
    ],
    breaksFunction: true,
  },
  {
    title: 'a missing image of somebody',
    ...withFunctions('- {name: f, runtimefs: x.img}\n', /the image .*x\.img does not exist; build or copy it/),
  },
  {
    title: 'an image outside',
    ...withFunctions(
      '- {name: f, runtimefs: ../vmlinux}\n',
      /`runtimefs` must name a file below `runtimefs_dir`, not "\.\.\/vmlinux"/,
    ),
  },
  {
    title: 'a missing appfs',
    ...withFunctions(
      `- {${f}, appfs: nope}\n`,
      /^functions\.yaml:1:38: function `f`: `appfs`: .*apps\/nope does not exist/,
    ),
  },
  {
    title: 'an appfs outside',
    ...withFunctions(`- {${f}, appfs: /etc}\n`, /`appfs` must name a file or directory below `appfs_dir`, not "\/etc"/),
  },
  {
    title: 'the directory of all functions as appfs',
    ...withFunctions(`- {${f}, appfs: hello, layers: [../x.zip]}\n`, /`layers` must name what is below `appfs_dir`/),
    ...withFunctions(
      `- {${f}, appfs: hello, layers: [helo]}\n`,
      /apps\/helo does not exist; .* \(did you mean hello\?\)/,
    ),
    ...withFunctions(`- {${f}, appfs: hello.ext4, layers: [hello]}\n`, /`layers` cannot be laid over an image; name/),
    ...withFunctions(`- {${f}, layers: [hello]}\n`, /`layers` cannot be laid over a root file system; name/),
    ...withFunctions(
      `- {${f}, appfs: hello, layers: hello}\n`,
      /`layers` must be a list of zip archives or directories/,
    ),
    ...withFunctions(`- {${f}, appfs: hello, layers: [a, a, a, a, a, a]}\n`, /`layers` has more than 5 layers; merge/),
    ...withFunctions(`- {${f}, appfs: .}\n`, /`appfs` must name a file or directory below/),
  },
  {
    title: 'an image for a plain process',
    changes: { 'functions.yaml': `- {${f}, appfs: hello.ext4}\n` },
    context: { vmm: 'process' },
    messages: [/hello\.ext4 is an image, which --vmm process cannot use/],
    breaksFunction: true,
  },
  {
    title: 'too little memory for a function',
    ...withFunctions(
      `- {${f}, memory: 127}\n`,
      /^functions\.yaml:1:39: function `f`: `memory` must be a whole number of MB, at least 128, not the number 127/,
    ),
  },
  {
    title: 'fractional memory',
    ...withFunctions(`- {${f}, memory: 128.5}\n`, /`memory` must be .*not the number 128\.5/),
  },
  { title: 'memory with a unit', ...withFunctions(`- {${f}, memory: 128MB}\n`, /`memory` must be .*not "128MB"/) },
  {
    title: 'a function larger than everything',
    ...withFunctions(`- {${f}, memory: 1025}\n`, /`memory` of 1025 MB is over the 1024 MB of --mem/),
  },
  {
    title: 'no vCPU',
    ...withFunctions(`- {${f}, vcpus: 0}\n`, /`vcpus` must be a whole number from 1 to 32, not the number 0/),
  },
  { title: 'too many vCPUs', ...withFunctions(`- {${f}, vcpus: 33}\n`, /`vcpus` must be/) },
  {
    title: 'a negative limit',
    ...withFunctions(
      `- {${f}, concurrency_limit: -1}\n`,
      /`concurrency_limit` must be a whole number above 0, not the number -1/,
    ),
  },
  {
    title: 'a timeout of 0',
    ...withFunctions(`- {${f}, timeout: 0}\n`, /`timeout` must be a number of seconds above 0 and up to 1800/),
  },
  { title: 'an endless timeout', ...withFunctions(`- {${f}, timeout: .inf}\n`, /`timeout` must be/) },
  {
    title: 'a handler that is a number',
    ...withFunctions(`- {${f}, handler: 1}\n`, /`handler` must be 1 to 1024 characters.*not the number 1/),
  },
  { title: 'an empty handler', ...withFunctions(`- {${f}, handler: ""}\n`, /`handler` must be 1 to 1024/) },
  {
    title: 'a handler of two lines',
    ...withFunctions(`- {${f}, handler: "a\\nb.c"}\n`, /`handler` must be 1 to 1024/),
  },
  { title: 'an endless handler', ...withFunctions(`- {${f}, handler: ${'a'.repeat(1025)}}\n`, /`handler` must be/) },
  {
    title: 'a number in the environment',
    ...withFunctions(
      `- {${f}, environment: {PORT: 80}}\n`,
      /^functions\.yaml:1:51: function `f`: `environment\.PORT` must be a string, not the number 80; quote it: "80"/,
    ),
  },
  {
    title: 'a switch in the environment',
    ...withFunctions(`- {${f}, environment: {DEBUG: true}}\n`, /quote it: "true"/),
  },
  {
    title: 'a variable that cannot be',
    ...withFunctions(
      `- {${f}, environment: {"A=B": x}}\n`,
      /^functions\.yaml:1:45: function `f`: `environment\.A=B` must be letters, digits and `_`/,
    ),
  },
  {
    title: 'an environment that is a list',
    ...withFunctions(`- {${f}, environment: [A=1]}\n`, /`environment` must be a map of names to strings, not a list/),
  },
  {
    title: 'a network without taps',
    ...withFunctions(
      `- {${f}, network: true}\n`,
      /^functions\.yaml:1:40: function `f`: `network` needs taps; name them by `network` in the controller's file/,
    ),
  },
  {
    title: 'a network that is a word',
    ...withFunctions(`- {${f}, network: tap0}\n`, /`network` must be `true` or `false`, not "tap0"/),
  },
  {
    title: 'a bad network, once for itself and not for its functions',
    changes: {
      'controller.yaml': `${CONTROLLER}network: {taps: [a], subnet: here}\n`,
      'functions.yaml': `- {${f}, network: true}\n`,
    },
    messages: [/^controller\.yaml:6:30: network: `subnet` must be an IPv4 network.*"here"/],
  },
  {
    title: 'everything at once',
    changes: {
      'controller.yaml': `${CONTROLLER}max_payload: big\nfoo: 1\n`,
      'functions.yaml': `- {${f}, vcpus: x, memory: 1}\n- {name: "", runtime: python3}\n`,
    },
    messages: [/max_payload/, /`foo`/, /`vcpus`/, /`memory`/, /`name` must be/],
  },
];
for (const { title, changes, context, messages, breaksFunction = false } of refusals) {
  test(`config: ${breaksFunction ? 'breaks one function by' : 'refuses'} ${title}`, () => {
    const { stop, lines: found } = problems(changes, context);
    assert.equal(stop, !breaksFunction);
    const missing = messages.filter((message) => !found.some((line) => message.test(line)));
    assert.deepEqual(missing, [], `not among:\n${found.join('\n')}`);
    assert.equal(found.length, messages.length, found.join('\n'));
  });
}

test('config: schedules up to their bounds, 100 of a function with 32 KiB each, and 10,000 in all', () => {
  const full = (n: number): string => `- {name: f${n}, runtime: python3, schedules: [${schedulesOf(100)}]}\n`;
  const all = Array.from({ length: 100 }, (_, n) => full(n)).join('');
  // What is refused does not count, whatever it is refused for.
  const broken = `- {name: g, runtime: python3, vcpus: 0, schedules: [${schedulesOf(100)}]}\n`;
  const over = '- {name: over, runtime: python3, schedules: [{name: s, expression: rate(1 day)}]}\n';
  inInstallation({ 'functions.yaml': broken + all + over }, (directory) => {
    const { functions, schedules, broken: refused } = load(directory);
    assert.deepEqual([functions.size, schedules.size], [100, 100]);
    assert.deepEqual(
      refused.map(({ name }) => name),
      ['g', 'over'],
    );
    assert.match(
      refused[1]?.problems[0] ?? '',
      /`over`: there are more than 10000 schedules in the file by now; leave/,
    );
  });
  const input = 'x'.repeat(32 * 1024 - 2);
  const largest = `- {name: f, runtime: python3, schedules: [{name: s, expression: rate(1 day), input: ${input}}]}\n`;
  inInstallation({ 'functions.yaml': largest }, (directory) => {
    assert.equal(load(directory).schedules.get('f')?.[0]?.input, JSON.stringify(input));
  });
});

test('config: a broken entry leaves the others as they are', () => {
  const functions = [
    `- {${f}, memory: lots}`,
    '- {name: good, runtime: python3}',
    '- nonsense',
    '- {name: twice, runtime: python3}',
    '- {name: twice, runtime: nodejs, vcpus: 0}',
    '- {name: also-good, runtime: nodejs}',
  ];
  inInstallation({ 'functions.yaml': `${functions.join('\n')}\n` }, (directory) => {
    const { functions: good, broken } = load(directory);
    assert.deepEqual([...good.keys()], ['good', 'also-good']);
    assert.deepEqual(
      broken.map(({ name, problems: { length } }) => [name, length]),
      [
        ['f', 1],
        [null, 1],
        ['twice', 2],
      ],
    );
    assert.ok(Object.isFrozen(broken) && Object.isFrozen(broken[0]));
  });
});

test('config: 10,000 functions of the original load', () => {
  const entry = (n: number): string =>
    `- name: function-${n}\n  runtimefs: python3.ext4\n  appfs: hello.ext4\n  vcpus: 1\n  memory: 128\n  concurrency_limit: 1\n`;
  const functions = Array.from({ length: 10_000 }, (_, n) => entry(n)).join('');
  inInstallation({ 'functions.yaml': functions }, (directory) => {
    assert.equal(load(directory).functions.size, 10_000);
  });
});

test('config: the docs name every key of both files', async () => {
  const { controllerSchema, functionSchema } = await import('../../../src/controller/config/schema.ts');
  const docs = readFileSync(join(import.meta.dirname, '../../../docs/config.md'), 'utf8');
  const keys = [...Object.keys(controllerSchema.shape), ...Object.keys(functionSchema.shape)];
  assert.deepEqual(
    keys.filter((key) => !docs.includes(`\`${key}\``)),
    [],
  );
});

test('config: how many requests a VM of an application on a port gets at once', () => {
  const app = (keys: string): string => `- {name: hello, runtime: python3, appfs: hello, ${keys}}\n`;
  const variables = (port: string, count: string): string =>
    `environment: {${port}AWS_LWA_MAX_CONCURRENCY: "${count}"}`;
  const inPort = 'AWS_LWA_PORT: "3000", ';
  for (const [keys, expected] of [
    ['web: {port: 3000}', 1],
    ['web: {port: 3000, max_concurrency:}', 1],
    ['web: {port: 3000, max_concurrency: 100}', 100],
    [variables(inPort, '7'), 7],
    [`web: {port: 3000}, ${variables('', '7')}`, 7],
    [`web: {port: 3000, max_concurrency: 2}, ${variables(inPort, '7')}`, 2],
  ] as const) {
    assert.deepEqual(only(app(keys)).web, { port: 3000, maxConcurrency: expected }, keys);
  }
  for (const count of ['0', '101', '1.5', '-1', '"10"', 'true', '[1]']) {
    const { lines } = problems({ 'functions.yaml': app(`web: {port: 3000, max_concurrency: ${count}}`) });
    assert.match(lines.join(), /`hello`.*max_concurrency` must be a number of requests from 1 to 100, not/, count);
  }
  assert.match(
    problems({ 'functions.yaml': app('web: {max_concurrency: 2}') }).lines.join(),
    /`web\.port` is missing|port` is missing/,
  );
  for (const count of ['0', '101', '1.5', '', 'many']) {
    const { lines } = problems({ 'functions.yaml': app(variables(inPort, count)) });
    assert.match(lines.join(), /AWS_LWA_MAX_CONCURRENCY must be a number of requests from 1 to 100, not "/, count);
  }
  const { lines } = problems({ 'functions.yaml': app(variables('', '2')) });
  assert.match(lines.join(), /AWS_LWA_MAX_CONCURRENCY is for an application on a port, which AWS_LWA_PORT tells/);
});
