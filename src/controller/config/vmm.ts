/** Runs in snapctr. The blocks of the controller's file that say how the host runs VMs, as firerunner is told of them. */
import { availableParallelism } from 'node:os';
import { z } from 'zod';
import {
  CGROUP_FILE,
  CGROUP_VALUE,
  LARGEST_UID,
  MAX_PRESTARTED,
  SMALLEST_UID,
  type FirecrackerSettings,
  type JailerSettings,
  type QemuSettings,
} from '../../protocol/vmm-settings.ts';
import { expected, text, wholeNumber } from '../../yaml/values.ts';
import type { Problem, YamlFile } from '../../yaml/yaml-file.ts';

const DEFAULT_CHROOT_BASE = '/srv/jailer';
export const DEFAULT_PRESTARTED = 2;
/** Of QEMUs, as many as there are processors, which so many launches at once keep busy. */
const MOST_QEMUS_BY_DEFAULT = 8;

const uidRange = expected(`two user ids from ${SMALLEST_UID} on, the first and the last, such as 100000-100999`);
const cgroupFile = expected('the name of a file of a cgroup, such as `memory.max`');
const cgroupValue = expected('a number or a string without `=`, as it is written to the file');

const prestarted = wholeNumber(0, MAX_PRESTARTED, `a whole number from 0 to ${MAX_PRESTARTED}`).nullish();

export const qemuSchema = z.strictObject({ prestarted }, expected('a map with `prestarted`'));

export const firecrackerSchema = z.strictObject(
  { path: text('the path of the program').nullish(), prestarted },
  expected('a map with `path` or `prestarted`'),
);

export const jailerSchema = z.strictObject(
  {
    path: text('the path of the program').nullish(),
    uid_range: z
      .string(uidRange)
      .regex(/^\d{1,10}-\d{1,10}$/, uidRange)
      .refine((range) => isUidRange(range), uidRange),
    gid: wholeNumber(SMALLEST_UID, LARGEST_UID, `a group id from ${SMALLEST_UID} on`).nullish(),
    chroot_base: text('the path of a directory').nullish(),
    cgroup: z
      .record(
        z.string().regex(CGROUP_FILE, cgroupFile),
        z.union([z.string().regex(CGROUP_VALUE, cgroupValue), z.number()], cgroupValue),
        expected('a map of files to values'),
      )
      .nullish(),
  },
  expected('a map with `uid_range`'),
);

/** The blocks of Firecracker as they stand in the file. */
interface VmmYaml {
  readonly firecracker?: z.infer<typeof firecrackerSchema> | null | undefined;
  readonly jailer?: z.infer<typeof jailerSchema> | null | undefined;
}

export function qemuSettings(yaml: z.infer<typeof qemuSchema> | null | undefined): QemuSettings {
  return { prestarted: yaml?.prestarted ?? Math.min(availableParallelism(), MOST_QEMUS_BY_DEFAULT) };
}

/** @param resolve makes a path that stands in the file absolute. */
export function firecrackerSettings(
  yaml: VmmYaml['firecracker'],
  resolve: (path: string) => string,
): FirecrackerSettings {
  return {
    path: yaml?.path == null ? null : resolve(yaml.path),
    prestarted: yaml?.prestarted ?? DEFAULT_PRESTARTED,
  };
}

/** @returns null if the file asks for no jail. */
export function jailerSettings(yaml: VmmYaml['jailer'], resolve: (path: string) => string): JailerSettings | null {
  if (yaml == null) return null;
  const [first = 0, last = 0] = yaml.uid_range.split('-').map(Number);
  return {
    path: yaml.path == null ? null : resolve(yaml.path),
    firstUid: first,
    uidCount: last - first + 1,
    gid: yaml.gid ?? null,
    chrootBase: resolve(yaml.chroot_base ?? DEFAULT_CHROOT_BASE),
    cgroup: Object.fromEntries(Object.entries(yaml.cgroup ?? {}).map(([file, value]) => [file, String(value)])),
  };
}

/** Adds to `problems` if the VMMs that wait would take all users: one more is needed for a VM. */
export function checkUserCount({ firecracker, jailer }: VmmYaml, source: YamlFile, problems: Problem[]): void {
  const users = jailerSettings(jailer, (path) => path)?.uidCount;
  const { prestarted } = firecrackerSettings(firecracker, (path) => path);
  if (users === undefined || users > prestarted) return;
  const message =
    `\`jailer.uid_range\` has ${users} users, and VMs need one each beside the ${prestarted} VMMs that are started ahead ` +
    '(`firecracker.prestarted`); widen it';
  problems.push(source.problemAt(['jailer', 'uid_range'], message));
}

function isUidRange(range: string): boolean {
  const [first = 0, last = 0] = range.split('-').map(Number);
  return first >= SMALLEST_UID && last >= first && last <= LARGEST_UID;
}
