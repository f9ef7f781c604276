/** Runs in snapctr. The shapes of the two configuration files, and the words for what does not fit them. */
import { z } from 'zod';
import { DEFAULT_ACCOUNT, type LambdaAccount } from '../../protocol/arn.ts';
import { MAX_LAYERS } from '../../protocol/builder.ts';
import { MAX_PAYLOAD_BYTES, MAX_TIMEOUT_S } from '../../protocol/guest.ts';
import { PROVIDED_NAMES, RUNTIMEFS_NAMES, type RuntimefsName } from '../../protocol/runtimes.ts';
import type { RetentionLimits } from '../../storage/retention.ts';
import { SMALLEST_VM_MIB } from '../../protocol/vmms.ts';
import { eventsSchema } from '../../yaml/events-key.ts';
import { urlSchema } from '../../yaml/url-key.ts';
import { expected, quoted, show, text, wholeNumber } from '../../yaml/values.ts';
import { webSchema } from '../../yaml/web-key.ts';
import { EVICTION_ORDERS, type EvictionOrderName } from '../pool/eviction-orders.ts';
import { eventSourcesSchema } from './event-sources.ts';
import { natsSchema } from './nats.ts';
import { schedulesSchema } from './schedules.ts';
import { firecrackerSchema, jailerSchema, qemuSchema } from './vmm.ts';

export const MAX_VCPUS = 32;
export const DEFAULT_TIMEOUT_S = 60;
const MAX_HANDLER_LENGTH = 1024;
const DEFAULT_QUEUE_CAPACITY = 1024;
const MAX_QUEUE_CAPACITY = 1_000_000;
const DEFAULT_QUEUE_WAIT_S = 0.5;
const DEFAULT_QUEUE_TIMEOUT_S = 300;
const MAX_QUEUE_S = 3600;
/** Room for the largest request, and an answer like it. */
const SMALLEST_REQUEST_MEMORY_MIB = 16;
const MAX_REQUEST_MEMORY_MIB = 1024 * 1024;
const DEFAULT_REQUEST_MEMORY_MIB = 256;

const DEFAULT_RETAINED_MIB = 10_240;
const DEFAULT_RETAINED_S = 7 * 24 * 3600;
const MAX_AGE_S = 3650 * 24 * 3600;
const MIB = 1024 * 1024;

/** Keys of the original's function lists that mean nothing here, each with the reason. */
export const UNUSED_FUNCTION_KEYS = {
  copy_base: 'the memory of a snapshot is always mapped, never copied',
  copy_diff: 'the memory of a snapshot is always mapped, never copied',
  load_ws: 'the working set is recorded and read ahead by itself (under QEMU)',
  dump_ws: 'the working set is recorded and read ahead by itself (under QEMU)',
  dump_dir: 'snapshots are made in `snapshot_dir`; make one by hand with `firerunner --dump_to`',
  kernel: "the controller's `kernel_path` is used for every function",
  cmdline: 'the kernel command line is chosen by the VMM driver',
  users: 'it describes a load, not a function',
  expected_running_time: 'it describes a load, not a function',
} as const;
export type UnusedFunctionKey = keyof typeof UNUSED_FUNCTION_KEYS;

/** The part of `--mem` that VMs launched ahead of requests may take, unless `standby` says otherwise. */
const DEFAULT_STANDBY_SHARE = 0.25;

const region = expected('the name of a region, such as `us-east-1`');
const account = expected('twelve digits in quotes, such as "000000000000"');
const age = expected(`a number of seconds from 0 to ${MAX_AGE_S} (ten years)`);
const requiredPath = text('a path');
const optionalPath = text('a path').nullish();
const unused = z.unknown().optional();
const queueTime = expected(`a number of seconds above 0 and up to ${MAX_QUEUE_S}`);

export const controllerSchema = z.strictObject(
  {
    kernel_path: requiredPath,
    initrd_path: optionalPath,
    runtimefs_dir: requiredPath,
    appfs_dir: requiredPath,
    snapshot_dir: requiredPath,
    function_config: requiredPath,
    firerunner_path: unused,
    max_payload: wholeNumber(
      1,
      MAX_PAYLOAD_BYTES,
      `a whole number of bytes from 1 to ${MAX_PAYLOAD_BYTES} (6 MiB)`,
    ).nullish(),
    queue_capacity: wholeNumber(
      1,
      MAX_QUEUE_CAPACITY,
      `a whole number of requests from 1 to ${MAX_QUEUE_CAPACITY}`,
    ).nullish(),
    queue_wait: z.number(queueTime).min(0.001, queueTime).max(MAX_QUEUE_S, queueTime).nullish(),
    queue_timeout: z.number(queueTime).min(0.001, queueTime).max(MAX_QUEUE_S, queueTime).nullish(),
    request_memory: wholeNumber(
      SMALLEST_REQUEST_MEMORY_MIB,
      MAX_REQUEST_MEMORY_MIB,
      `a whole number of MB from ${SMALLEST_REQUEST_MEMORY_MIB} to ${MAX_REQUEST_MEMORY_MIB}`,
    ).nullish(),
    // Checked by `network.ts`.
    network: z.unknown().optional(),
    keep_alive: z
      .enum(EVICTION_ORDERS, expected(`one of ${EVICTION_ORDERS.map((name) => `\`${name}\``).join(', ')}`))
      .nullish(),
    standby: wholeNumber(0, Number.MAX_SAFE_INTEGER, 'a whole number of MB, 0 for none').nullish(),
    qemu: qemuSchema.nullish(),
    firecracker: firecrackerSchema.nullish(),
    jailer: jailerSchema.nullish(),
    nats: natsSchema.nullish(),
    retention: z
      .strictObject(
        {
          max_size: wholeNumber(0, Number.MAX_SAFE_INTEGER, 'a whole number of MB').nullish(),
          max_age: z.number(age).min(0, age).max(MAX_AGE_S, age).nullish(),
        },
        expected('a map with `max_size` and `max_age`'),
      )
      .nullish(),
    lambda: z
      .strictObject(
        {
          region: z
            .string(region)
            .regex(/^[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d$/, region)
            .nullish(),
          account_id: z
            .string(account)
            .regex(/^\d{12}$/, account)
            .nullish(),
        },
        expected('a map with `region` and `account_id`'),
      )
      .nullish(),
  },
  expected('a map of keys such as `kernel_path`'),
);
export type ControllerYaml = z.infer<typeof controllerSchema>;

export function controllerDefaults(
  yaml: Pick<
    ControllerYaml,
    | 'max_payload'
    | 'queue_capacity'
    | 'queue_wait'
    | 'queue_timeout'
    | 'request_memory'
    | 'keep_alive'
    | 'standby'
    | 'lambda'
    | 'retention'
  >,
  memoryMib: number,
): {
  readonly maxPayloadBytes: number;
  readonly queueCapacity: number;
  readonly queueWaitMs: number;
  readonly queueTimeoutMs: number;
  readonly requestMemoryMib: number;
  readonly keepAlive: EvictionOrderName;
  readonly standbyMib: number;
  readonly lambda: LambdaAccount;
  readonly retention: RetentionLimits;
} {
  return {
    keepAlive: yaml.keep_alive ?? 'demand',
    standbyMib: yaml.standby ?? Math.floor(memoryMib * DEFAULT_STANDBY_SHARE),
    maxPayloadBytes: yaml.max_payload ?? MAX_PAYLOAD_BYTES,
    queueCapacity: yaml.queue_capacity ?? DEFAULT_QUEUE_CAPACITY,
    queueWaitMs: (yaml.queue_wait ?? DEFAULT_QUEUE_WAIT_S) * 1000,
    queueTimeoutMs: (yaml.queue_timeout ?? DEFAULT_QUEUE_TIMEOUT_S) * 1000,
    requestMemoryMib: yaml.request_memory ?? DEFAULT_REQUEST_MEMORY_MIB,
    retention: {
      maxBytes: (yaml.retention?.max_size ?? DEFAULT_RETAINED_MIB) * MIB,
      maxAgeMs: (yaml.retention?.max_age ?? DEFAULT_RETAINED_S) * 1000,
    },
    lambda: {
      region: yaml.lambda?.region ?? DEFAULT_ACCOUNT.region,
      accountId: yaml.lambda?.account_id ?? DEFAULT_ACCOUNT.accountId,
    },
  };
}

const name = expected('1 to 64 letters, digits, `-`, `_` or `.`');
/** AWS's names of the one that has no language count as well. */
const runtimeNames = [...RUNTIMEFS_NAMES, ...PROVIDED_NAMES];
/** The runtime takes it apart, and says what is wrong with it. */
const handler = expected(
  `1 to ${MAX_HANDLER_LENGTH} characters, such as \`index.handler\` or \`src/app.handler\`, none of them a control character`,
);
const timeout = expected(`a number of seconds above 0 and up to ${MAX_TIMEOUT_S}`);
const MAX_ARGUMENTS = 1500;
const argument = expected('a string; quote it');
const arguments_ = expected(`a list of at most ${MAX_ARGUMENTS} strings`);
const layers = expected('a list of zip archives or directories below `appfs_dir`, the last laid over the others');
const layerDirectories = expected('the directory of a function layer, or a list of such directories');
const variableName = expected('letters, digits and `_`, not beginning with a digit');

const unusedFunctionKeys = Object.fromEntries(Object.keys(UNUSED_FUNCTION_KEYS).map((key) => [key, unused])) as Record<
  UnusedFunctionKey,
  typeof unused
>;

export const functionSchema = z.strictObject(
  {
    name: z.string(name).regex(/^[A-Za-z0-9._-]{1,64}$/, name),
    runtime: z
      .enum(runtimeNames, expected(runtimeNames.map((runtime) => `\`${runtime}\``).join(' or ')))
      .transform((known): RuntimefsName => RUNTIMEFS_NAMES.find((runtimefs) => runtimefs === known) ?? 'provided')
      .nullish(),
    runtimefs: text('the name of a file below `runtimefs_dir`').nullish(),
    image: text('the name of a container image, such as `registry.example/path:tag` or `oci:DIR`').nullish(),
    image_config: z
      .strictObject(
        {
          entry_point: z.array(z.string(argument), arguments_).max(MAX_ARGUMENTS, arguments_).nullish(),
          command: z.array(z.string(argument), arguments_).max(MAX_ARGUMENTS, arguments_).nullish(),
          working_directory: text('a directory of the image').nullish(),
        },
        expected('a map with `entry_point`, `command` and `working_directory`'),
      )
      .nullish(),
    appfs: z.string(expected('the name of a file or directory below `appfs_dir`, or empty')).nullish(),
    layers: z
      .array(text('a layer'), layers)
      .max(MAX_LAYERS, { error: `has more than ${MAX_LAYERS} layers; merge some into one` })
      .nullish(),
    handler: z
      .string(handler)
      .max(MAX_HANDLER_LENGTH, handler)
      .regex(/^\P{Cc}+$/u, handler)
      .nullish(),
    vcpus: wholeNumber(1, MAX_VCPUS, `a whole number from 1 to ${MAX_VCPUS}`).nullish(),
    memory: wholeNumber(
      SMALLEST_VM_MIB,
      Number.MAX_SAFE_INTEGER,
      `a whole number of MB, at least ${SMALLEST_VM_MIB}`,
    ).nullish(),
    concurrency_limit: wholeNumber(0, Number.MAX_SAFE_INTEGER, 'a whole number above 0').nullish(),
    timeout: z.number(timeout).min(0.001, timeout).max(MAX_TIMEOUT_S, timeout).nullish(),
    environment: z
      .record(
        z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, variableName),
        z
          .string({ error: ({ input }) => `must be a string, not ${show(input)}; quote it: ${quoted(input)}` })
          .regex(/^[^\0]*$/, {
            error: 'must not contain a NUL character',
          }),
        expected('a map of names to strings'),
      )
      .nullish(),
    load_dir: text('the directory of a base layer').nullish(),
    diff_dirs: z
      .union(
        [text('a directory').transform((directory) => [directory]), z.array(text('a directory'))],
        layerDirectories,
      )
      .nullish(),
    network: z.boolean(expected('`true` or `false`')).nullish(),
    url: urlSchema.nullish(),
    web: webSchema.nullish(),
    events: eventsSchema.nullish(),
    schedules: schedulesSchema.nullish(),
    event_sources: eventSourcesSchema.nullish(),
    ...unusedFunctionKeys,
  },
  expected('a map of keys such as `name` and `runtime`'),
);
export type FunctionYaml = z.infer<typeof functionSchema>;
