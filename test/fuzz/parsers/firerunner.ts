/** What a guest, a VMM or a layer on disk says to firerunner. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { Duplex } from 'node:stream';
import { FrameSocket } from '../../../src/firerunner/guest/frame-socket.ts';
import { GuestLife } from '../../../src/firerunner/guest/guest-life.ts';
import type { Machine, MachineExit } from '../../../src/firerunner/machine.ts';
import { TapFlagsError, tapOfFlags } from '../../../src/firerunner/network/tap-flags.ts';
import { Qmp } from '../../../src/firerunner/qemu/qmp.ts';
import {
  DamagedLayerError,
  formatManifest,
  parseManifest,
  type Layer,
  type ManifestDraft,
} from '../../../src/firerunner/snapshots/layer.ts';
import { IndexBuilder, parseIndex } from '../../../src/firerunner/snapshots/page-index.ts';
import { parseWorkingSet } from '../../../src/firerunner/snapshots/working-set-file.ts';
import { parseVmmSettings, VmmSettingsError } from '../../../src/firerunner/vmm-settings.ts';
import { encodeFrame } from '../../../src/protocol/frame.ts';
import { FrameType, GUEST_PROTOCOL_VERSION } from '../../../src/protocol/guest.ts';
import { sha256Json } from '../../../src/storage/digest.ts';
import { chunksOf, jsonText, outcomeOf, parsedJson } from '../properties.ts';
import type { Random } from '../random.ts';
import type { ParserTarget } from '../target.ts';

/** The end of a socket that never says anything by itself; what is said to it goes nowhere. */
class SilentSocket extends Duplex {
  override _read(): void {
    // Whatever it has to say is emitted.
  }

  override _write(_chunk: unknown, _encoding: string, done: () => void): void {
    done();
  }
}

const TYPES = Object.values(FrameType).filter((type) => type >= 16) as [number, ...number[]];
/** Values that are no numbers, and turn into errors where one is made of them. */
const ODD = [
  '{"toString":0}',
  '{"valueOf":null,"toString":null}',
  '[[1]]',
  '"x"',
  'null',
  '-1',
  '1e999',
  '1.5',
  '{}',
] as const;

function guestFrame(random: Random): Buffer {
  const number = random.oneIn(3) ? random.pick(ODD) : String(random.below(9));
  const other = random.oneIn(4) ? jsonText(random, 2) : '"stderr"';
  const headers = {
    [FrameType.hello]: `{"protocol":${random.oneIn(2) ? GUEST_PROTOCOL_VERSION : number},"runtime":${other}}`,
    [FrameType.log]: `{"request":${number},"stream":${other}}`,
    [FrameType.logEnd]: `{"request":${number},"bytes":${other},"cut":${number}}`,
    [FrameType.sealed]: `{"processes":${number}}`,
    [FrameType.runtimeExited]: random.oneIn(2) ? `{"status":${number}}` : `{"signal":${number}}`,
  };
  const type = random.pick(TYPES);
  const header = Buffer.from((headers as Record<number, string>)[type] ?? (random.oneIn(2) ? '' : '{}'));
  const frame = encodeFrame(type, undefined, Buffer.concat([header, random.bytes(random.below(20))]));
  frame.writeUInt16BE(header.length, 5);
  return frame;
}

function isCount(value: unknown): boolean {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

const CONTROL: ParserTarget = {
  name: 'guest-control',
  tokens: [...ODD, '\0\0\0\x03\x16\0\0', '"request":', '"signal":', '{}', '\xc3', '\xf0\x9f'],
  generate: (random) => Buffer.concat(Array.from({ length: 1 + random.below(4) }, () => guestFrame(random))),
  check(input, { random }) {
    const socket = new SilentSocket();
    const control = new FrameSocket(socket);
    let killed = 0;
    const never = new Promise<MachineExit>(() => undefined);
    const machine = {
      control,
      exited: never,
      consoleTail: () => [],
      kill: () => {
        killed += 1;
        return never;
      },
    } as unknown as Machine;
    const life = new GuestLife(
      machine,
      {
        onChannel: () => assert.fail('a guest has no say in that'),
        onLog: ({ request, stream }, text) => {
          assert.ok(isCount(request), `output of request ${request}`);
          assert.ok(['stdout', 'stderr'].includes(stream) && text !== '');
          return null;
        },
        onLogEnd: (request) => {
          assert.ok(isCount(request), `the end of request ${request}`);
          return null;
        },
        onRuntimeExited: (reason, exit) => {
          assert.ok(isCount(exit.status ?? exit.signal) && (exit.status === undefined) !== (exit.signal === undefined));
          assert.ok(reason.length < 200);
        },
      },
      new AbortController().signal,
    );
    // Whatever a step comes to, somebody waits for it.
    const sealed = random.oneIn(2) ? life.hello() : life.seal('hooks').then(({ count }) => assert.ok(isCount(count)));
    sealed.catch((error: unknown) => assert.ok(error instanceof Error && error.message.length < 4000));
    for (const chunk of chunksOf(input, random)) socket.emit('data', Buffer.from(chunk));
    control.close();
    assert.ok(killed <= 8 + input.length);
  },
};

const QMP: ParserTarget = {
  name: 'qmp',
  tokens: ['\n', '{"return":', '"id":1', '"error":', '{"desc":', '"event":', '"data":', 'null', '{"QMP":{}}\n', ...ODD],
  generate: (random) => {
    const lines = Array.from({ length: random.below(5) }, () => {
      const id = random.oneIn(3) ? random.pick(ODD) : String(1 + random.below(3));
      const description = random.oneIn(3) ? random.pick(ODD) : '"not now"';
      return random.pick([
        '{"QMP":{"version":{}}}',
        `{"return":${jsonText(random, 1)},"id":${id}}`,
        `{"error":{"class":"GenericError","desc":${description}},"id":${id}}`,
        `{"error":${random.pick(ODD)},"id":${id}}`,
        `{"event":${random.oneIn(3) ? random.pick(ODD) : '"STOP"'},"data":${random.oneIn(3) ? random.pick(ODD) : '{"status":"failed"}'}}`,
      ]);
    });
    return Buffer.from(lines.map((line) => `${line}\n`).join(''));
  },
  check(input, { random }) {
    const socket = new SilentSocket();
    const qmp = new Qmp(socket);
    const answered = qmp.execute('stop');
    answered.catch((error: unknown) => assert.ok(error instanceof Error && error.message.startsWith('QEMU ')));
    const stopping = new AbortController();
    const event = qmp.event(({ name, data }) => {
      assert.ok(typeof name === 'string' && typeof data === 'object' && !Array.isArray(data));
      return data['status'] === 'failed';
    }, stopping.signal);
    event.catch(() => undefined);
    for (const chunk of chunksOf(input, random)) socket.emit('data', Buffer.from(chunk));
    stopping.abort();
    socket.destroy();
  },
};

const DIGEST = 'a'.repeat(64);

function manifest(random: Random): ManifestDraft {
  const part = (): { sha256: string; bytes: number } => ({ sha256: DIGEST, bytes: 4096 * random.below(9) });
  return {
    kind: random.pick(['base', 'function']),
    stamp: { rules: 2, kernel: DIGEST, network: null },
    base: null,
    memoryBytes: 4096 * (1 + random.below(1000)),
    parts: { state: part(), index: part(), pages: part() },
  };
}

const MANIFEST: ParserTarget = {
  name: 'layer-manifest',
  tokens: [
    '"base"',
    '"function"',
    'null',
    '"stamp":',
    '"parts":',
    '"memory_bytes":',
    '-4096',
    '1e300',
    '{}',
    '"digest":',
  ],
  generate(random) {
    const draft = manifest(random);
    return Buffer.from(formatManifest(draft.kind === 'base' ? draft : { ...draft, base: DIGEST }));
  },
  check(input, { random, isValid }) {
    const text = input.toString('utf8');
    if (random.oneIn(2000)) {
      const nested = `{"digest":"","stamp":${'['.repeat(50_000)}${']'.repeat(50_000)}}`;
      assert.ok('error' in outcomeOf([DamagedLayerError], () => parseManifest('/layer', nested)));
    }
    // One in two with a digest that fits: only those come as far as the members.
    const parsed = random.oneIn(2) ? parsedJson(text)?.value : undefined;
    const isObject = typeof parsed === 'object' && parsed !== null;
    const body = isObject ? Object.entries(parsed).filter(([key]) => key !== 'digest') : null;
    const digest = body === null ? '' : sha256Json(Object.fromEntries(body));
    const signed = body === null ? text : JSON.stringify(Object.fromEntries([...body, ['digest', digest]]));
    const outcome = outcomeOf([DamagedLayerError], () => parseManifest('/layer', signed));
    if ('error' in outcome) return assert.ok(!isValid, outcome.error);
    const { digest: itsDigest, ...draft } = outcome.value;
    assert.equal(typeof itsDigest, 'string');
    assert.ok(draft.memoryBytes % 4096 === 0 && draft.memoryBytes >= 0);
    for (const { bytes, sha256 } of Object.values(draft.parts)) assert.ok(isCount(bytes) && typeof sha256 === 'string');
  },
};

const MEMORY_PAGES = 512;

function layerOf(pageBytes: number): Layer {
  const part = { sha256: DIGEST, bytes: pageBytes };
  const draft = { kind: 'base', stamp: {}, base: null, memoryBytes: MEMORY_PAGES * 4096 } as const;
  const parts = { state: part, index: part, pages: part };
  return { ...draft, parts, name: 'base-1', directory: '/layer', digest: DIGEST, statePath: '/layer/state' };
}

/** Runs are in order, without overlap, in the memory, and not empty. */
function assertRuns(runs: readonly { readonly firstPage: number; readonly pages: number }[]): void {
  let end = 0;
  for (const { firstPage, pages } of runs) {
    assert.ok(firstPage >= end && pages > 0);
    end = firstPage + pages;
  }
  assert.ok(end <= MEMORY_PAGES);
}

const INDEX: ParserTarget = {
  name: 'page-index',
  tokens: ['\0\0\0\0', '\x01\0\0\0', '\xff\xff\xff\xff', '\0\x02\0\0'],
  generate(random) {
    const builder = new IndexBuilder();
    for (let page = random.below(3); page < MEMORY_PAGES; page += 1 + random.below(90))
      builder.add(page, random.oneIn(2));
    return builder.bytes();
  },
  check(input, { isValid }) {
    let pages = 0;
    for (let at = 0; at + 12 <= input.length; at += 12)
      if (input.readUInt32LE(at + 8) === 0) pages += input.readUInt32LE(at + 4);
    const outcome = outcomeOf([DamagedLayerError], () => parseIndex(input, layerOf(pages * 4096)));
    if ('error' in outcome) return assert.ok(!isValid, outcome.error);
    assertRuns(outcome.value);
    const builder = new IndexBuilder();
    for (const { firstPage, pages: count, zero } of outcome.value) {
      for (let page = firstPage; page < firstPage + count; page += 1) builder.add(page, zero);
    }
    // Runs that touch are one when they are written again.
    assertRuns(parseIndex(builder.bytes(), layerOf(pages * 4096)));
    assert.ok(builder.bytes().length <= input.length);
  },
};

const WORKING_SET: ParserTarget = {
  name: 'working-set',
  tokens: ['SFWS', '\x01\0\0\0', '\0\0\0\0', '\xff\xff\xff\xff'],
  generate(random) {
    const records: number[] = [];
    for (let page = random.below(3); page < MEMORY_PAGES - 64; page += 64) records.push(page, 1 + random.below(64));
    const bytes = Buffer.alloc(records.length * 4);
    records.forEach((value, index) => bytes.writeUInt32LE(value, index * 4));
    return Buffer.concat([Buffer.from('SFWS\x01\0\0\0', 'latin1'), Buffer.from(DIGEST, 'hex'), bytes]);
  },
  check(input, { isValid }) {
    // Only with the right digest behind it does anybody look at the records.
    const signed = Buffer.concat([input, createHash('sha256').update(input).digest()]);
    const runs = parseWorkingSet(signed, layerOf(0));
    if (isValid) assert.ok(runs !== null);
    if (runs !== null) assertRuns(runs);
    assert.equal(parseWorkingSet(signed.subarray(0, -1), layerOf(0)), null);
  },
};

const SETTINGS: ParserTarget = {
  name: 'vmm-settings',
  tokens: ['null', '"firecracker":', '"jailer":', '"network":', '"taps":', '"sf0"', '-1', '1e9', '{}', '[]'],
  generate: (random) =>
    Buffer.from(
      JSON.stringify({
        firecracker: random.oneIn(2) ? null : { path: '/usr/bin/firecracker', prestarted: random.below(9) },
        jailer: random.oneIn(2)
          ? null
          : { firstUid: 100_000, uidCount: 10, chrootBase: '/srv/jail', cgroup: { 'memory.max': '1' } },
        network: random.oneIn(2) ? null : { taps: ['sf0'], subnet: '10.200.0.0/24', dns: null },
      }),
    ),
  check(input, { isValid }) {
    const outcome = outcomeOf([VmmSettingsError], () => parseVmmSettings(input.toString('utf8')));
    if ('error' in outcome) return assert.ok(!isValid, outcome.error);
    assert.deepEqual(parseVmmSettings(JSON.stringify(outcome.value)), outcome.value);
  },
};

const TAP_FLAGS: ParserTarget = {
  name: 'tap-flags',
  tokens: ['\n', '02:00:0a:c8:00:01', '/31', '10.200.0.1', ':', '.', 'sf0'],
  generate: (random) =>
    Buffer.from(['sf0', '02:00:0a:c8:00:01', `10.200.0.${random.below(256)}/31`, '10.200.0.1'].join('\n')),
  check(input, { isValid }) {
    const [name = '', mac = '', guestIp = '', gateway = ''] = input.toString('latin1').split('\n');
    const outcome = outcomeOf([TapFlagsError], () =>
      tapOfFlags({ tap_name: name, mac, guest_ip: guestIp, ...(gateway === '' ? {} : { gateway }) }),
    );
    if ('error' in outcome) return assert.ok(!isValid, outcome.error);
    assert.equal(outcome.value?.attachment.tapName, name);
  },
};

export const FIRERUNNER_TARGETS: readonly ParserTarget[] = [
  CONTROL,
  QMP,
  MANIFEST,
  INDEX,
  WORKING_SET,
  SETTINGS,
  TAP_FLAGS,
];
