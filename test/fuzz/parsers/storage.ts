/** Configuration, and names of files that processes have left. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, loadConfig } from '../../../src/controller/config/config.ts';
import { OwnedNames } from '../../../src/storage/owned-names.ts';
import { ownerFromTag, ownerTag } from '../../../src/storage/owner.ts';
import { outcomeOf } from '../properties.ts';
import type { ParserTarget } from '../target.ts';

const directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'snapfaas-fuzz-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

const CONFIG_KEYS = [
  'kernel_path',
  'runtimefs_dir',
  'appfs_dir',
  'snapshot_dir',
  'function_config',
  'max_payload',
  'queue_capacity',
  'network',
  'lambda',
  'firecracker',
] as const;

function problemsOf(error: Error): ConfigError['problems'] {
  return error instanceof ConfigError ? error.problems : [];
}

const CONFIG: ParserTarget = {
  name: 'config',
  tokens: [
    '\n',
    ': ',
    '- ',
    '&a',
    '*a',
    '<<: *a',
    '|',
    '>',
    '{',
    '}',
    '[',
    ']',
    '!!int',
    '"',
    '# ',
    '  ',
    '\t',
    '~',
    '---\n',
    ...CONFIG_KEYS,
  ],
  generate: (random) =>
    Buffer.from(
      [
        'kernel_path: vmlinux',
        'runtimefs_dir: .',
        'appfs_dir: .',
        'snapshot_dir: snapshots',
        'function_config: functions.yaml',
        random.pick(['', 'max_payload: 1 MiB', 'queue_capacity: 10', 'network: {taps: 2, subnet: 10.0.0.0/24}']),
        '---functions---',
        '- name: hello',
        '  runtime: python3',
        '  appfs: hello',
        `  memory: ${128 + random.below(500)}`,
        random.pick(['', '  timeout: 5', '  environment: {A: b}', '  handler: index.handler', '  vcpus: 2']),
      ].join('\n'),
    ),
  check(input) {
    const [controller = '', functions = ''] = input.toString('latin1').split('---functions---');
    writeFileSync(join(directory, 'controller.yaml'), Buffer.from(controller, 'latin1'));
    writeFileSync(join(directory, 'functions.yaml'), Buffer.from(functions, 'latin1'));
    const outcome = outcomeOf([ConfigError], () =>
      loadConfig('controller.yaml', { memoryMib: 1024, hostMemoryMib: 4096, vmm: 'process', cwd: directory }),
    );
    if ('error' in outcome) {
      for (const { message, line, column } of problemsOf(outcome.error)) {
        assert.ok(message !== '' && (line === null || line >= 1) && (column === null || column >= 1));
      }
      return;
    }
    for (const [name, fn] of outcome.value.functions) {
      assert.equal(fn.name, name);
      assert.ok(fn.memoryMib >= 128 && fn.vcpus >= 1 && fn.timeoutMs > 0);
    }
    for (const { problems } of outcome.value.broken) assert.ok(problems.length > 0);
  },
};

const NAMES = new OwnedNames('.snapfaas-build-');

const OWNER: ParserTarget = {
  name: 'owned-name',
  tokens: ['-', '0', '.snapfaas-build-', '/', '..', '4711'],
  generate: (random) =>
    Buffer.from(`.snapfaas-build-${1 + random.below(99999)}-${random.u32()}${random.pick(['', '-a', '-1f0c.x'])}`),
  check(input, { isValid }) {
    const name = input.toString('latin1');
    const owner = NAMES.ownerOf(name);
    if (isValid) assert.ok(owner !== null);
    if (owner === null) return;
    assert.ok(Number.isSafeInteger(owner.pid) && owner.pid > 0);
    assert.ok(name.startsWith(`.snapfaas-build-${ownerTag(owner)}`));
    assert.deepEqual(ownerFromTag(ownerTag(owner)), owner);
    assert.ok(!name.includes('/'));
  },
};

export const STORAGE_TARGETS: readonly ParserTarget[] = [CONFIG, OWNER];
