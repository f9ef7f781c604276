/**
 * What `/ui/stream` tells of a controller, to the page and to `snapctr top`: tables whose rows have keys. A reader gets all rows once,
 * and then the rows that have changed; `null` is a row that is gone.
 *
 * ```
 *   event: full      data: {"host":{…},"vms":{"vm-1":{…}},…}     all that is known before is void
 *   event: patch     data: {"vmStates":{"vm-1":"busy"},"vms":{"vm-7":null}}
 *   event: end       the controller ends
 * ```
 */

/** Parts of the whole, one row each. */
export interface HostRows {
  /** `vmm`: what runs the VMs; null: it is not known yet. `startedAtMs`: since 1970. */
  about: { readonly vmm: string | null; readonly startedAtMs: number };
  state: 'running' | 'draining';
  /** MiB. */
  memory: { readonly total: number; readonly reserved: number; readonly idle: number };
  queue: { readonly length: number; readonly capacity: number };
  workers: { readonly total: number; readonly busy: number };
  counters: { readonly launches: number; readonly evictions: number; readonly reuses: number };
  provisioned: { readonly requested: number; readonly available: number };
  snapshots: { readonly preparing: number; readonly ready: number; readonly failed: number };
  events: { readonly pending: number; readonly oldestMs: number; readonly dead: number };
  functions: { readonly total: number; readonly deploying: number };
  /** The key of `starts` that is counted now, by the controller's clock. */
  startBucket: number;
}

/** What does not change of a VM. */
export interface VmRow {
  readonly function: string;
  readonly version: string;
  readonly mib: number;
  /** ms since 1970. */
  readonly launchedAtMs: number;
}

/**
 * `kept`: idle, and promised by provisioned concurrency; `ahead`: idle, launched before anybody asked for it, and nobody has used it yet;
 * `evicted` and `ended`: its process still ends.
 */
export type VmStateName = 'launching' | 'busy' | 'idle' | 'kept' | 'ahead' | 'evicted' | 'ended';

export type DeploymentStepName = 'queued' | 'building' | 'snapshotting';

/** A version that is being deployed. */
export interface DeploymentRow {
  readonly version: string;
  readonly step: DeploymentStepName;
  /** When the step began; ms since 1970. */
  readonly sinceMs: number;
}

export interface FunctionRow {
  readonly state: 'Pending' | 'Active' | 'Failed';
  readonly deploying: boolean;
  /** Absent: none. */
  readonly deployments?: readonly DeploymentRow[];
  readonly runtime: string | null;
  readonly mib: number;
  /** Numbers of published ones. */
  readonly versions: number;
  readonly snapshot: 'preparing' | 'ready' | 'failed' | null;
  /** Why the last deployment failed, a line each; absent: it did not. */
  readonly problems?: readonly string[];
}

/** A function's last minute; times in ms. Functions without requests in it have none. */
export interface ActivityRow {
  readonly requests: number;
  readonly errors: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Changes with each invocation; ms since 1970. */
  readonly lastEndedAtMs: number;
}

export const START_KINDS = ['cold', 'restored', 'ahead', 'warm'] as const;
/** `ahead`: the VM was launched before the request. */
export type LiveStartKind = (typeof START_KINDS)[number];

/** Requests that ended within some seconds, by how their VM was started; key: `START_BUCKET_MS` since 1970. */
export type StartRow = Readonly<Partial<Record<LiveStartKind | 'failed', number>>> & {
  /** Of those that took a launch; absent: there was none. */
  readonly parts?: PhaseRow;
};
export const START_BUCKET_MS = 5000;
export const START_BUCKETS = 60;

/** Mean parts of the last starts of a kind, in ms. */
export interface PhaseRow {
  readonly starts: number;
  readonly queueMs: number;
  readonly spawnMs: number;
  readonly bootMs: number;
  readonly loadMs: number;
  readonly resumeMs: number;
  readonly firstResponseMs: number;
}

/** The same of one function alone; see `HostRows.startBucket`, `LiveTables.starts` and `LiveTables.phases`. */
export interface FunctionStarts {
  readonly startBucket: number;
  readonly starts: Readonly<Record<string, StartRow>>;
  readonly phases: Readonly<Record<string, PhaseRow>>;
}

/** A version as it is now. */
export interface VersionRow {
  /** `$LATEST`, or a number. */
  readonly version: string;
  readonly state: FunctionRow['state'];
  readonly deploying: boolean;
  /** Null: VMs of it are booted. */
  readonly snapshot: FunctionRow['snapshot'];
}

/** `GET /ui/functions/NAME`: what is told of one function to whoever looks at it. */
export interface FunctionView extends FunctionStarts {
  /** `$LATEST` first, then the newest. */
  readonly versions: readonly VersionRow[];
}

/** What needs a person. */
export interface BannerRow {
  readonly level: 'warning' | 'error';
  readonly text: string;
}

export interface LiveTables {
  readonly host: HostRows;
  readonly vms: Record<string, VmRow>;
  readonly vmStates: Record<string, VmStateName>;
  readonly functions: Record<string, FunctionRow>;
  readonly activity: Record<string, ActivityRow>;
  /** Events that wait, by function. */
  readonly pending: Record<string, number>;
  readonly starts: Record<string, StartRow>;
  readonly phases: Record<string, PhaseRow>;
  readonly banners: Record<string, BannerRow>;
}

export type TableName = keyof LiveTables;
export const TABLES = [
  'host',
  'vms',
  'vmStates',
  'functions',
  'activity',
  'pending',
  'starts',
  'phases',
  'banners',
] as const satisfies readonly TableName[];

/** Maps, because a function may be called `__proto__`. */
export interface LiveState {
  readonly host: Partial<HostRows>;
  readonly vms: Map<string, VmRow>;
  readonly vmStates: Map<string, VmStateName>;
  readonly functions: Map<string, FunctionRow>;
  readonly activity: Map<string, ActivityRow>;
  readonly pending: Map<string, number>;
  readonly starts: Map<string, StartRow>;
  readonly phases: Map<string, PhaseRow>;
  readonly banners: Map<string, BannerRow>;
}

/** Changed rows by table and key. */
export type LivePatch = Partial<Record<TableName, Readonly<Record<string, unknown>>>>;

export function emptyState(): LiveState {
  return {
    host: {},
    vms: new Map(),
    vmStates: new Map(),
    functions: new Map(),
    activity: new Map(),
    pending: new Map(),
    starts: new Map(),
    phases: new Map(),
    banners: new Map(),
  };
}

/** Changes a state in its place. */
export function applyPatch(state: LiveState, patch: LivePatch): void {
  for (const name of TABLES) {
    const rows = patch[name];
    if (rows === undefined) continue;
    if (name === 'host') Object.assign(state.host, rows);
    else applyRows(state[name], rows);
  }
}

function applyRows(table: Map<string, unknown>, rows: Readonly<Record<string, unknown>>): void {
  for (const [key, row] of Object.entries(rows)) {
    if (row === null) table.delete(key);
    else table.set(key, row);
  }
}

/** One message of an event stream. */
export interface StreamMessage {
  readonly event: string;
  readonly data: string;
}

/** Takes the text of an event stream in pieces (WHATWG HTML, 9.2.6); of fields, `event` and `data`. */
export class StreamReader {
  #rest = '';

  push(text: string): readonly StreamMessage[] {
    const blocks = (this.#rest + text).split('\n\n');
    this.#rest = blocks.pop() ?? '';
    return blocks.flatMap((block) => {
      let event = 'message';
      const data: string[] = [];
      for (const line of block.split('\n')) {
        if (line.startsWith('event: ')) event = line.slice(7);
        else if (line.startsWith('data: ')) data.push(line.slice(6));
      }
      return data.length === 0 ? [] : [{ event, data: data.join('\n') }];
    });
  }
}
