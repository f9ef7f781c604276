/** Runs in the fake Firecracker. Which request is accepted when; everything that is not listed is refused. */

export type VmState = 'Not started' | 'Running' | 'Paused';

/** Before the start; after it, running or paused; only while paused; at any time. */
type Phase = 'before' | 'after' | 'paused' | 'always';

const PHASES: Readonly<Record<string, Phase>> = {
  'GET /': 'always',
  'GET /version': 'always',
  'GET /machine-config': 'always',
  'GET /vm/config': 'always',
  'PUT /boot-source': 'before',
  'PUT /machine-config': 'before',
  'PATCH /machine-config': 'before',
  'PUT /drives': 'before',
  'PUT /network-interfaces': 'before',
  'PUT /vsock': 'before',
  'PUT /entropy': 'before',
  'PUT /serial': 'before',
  'PUT /logger': 'before',
  'PUT /metrics': 'before',
  'PUT /cpu-config': 'before',
  'PUT /balloon': 'before',
  'PUT /mmds': 'before',
  'PUT /mmds/config': 'before',
  'PUT /pmem': 'before',
  'PUT /snapshot/load': 'before',
  'PUT /actions InstanceStart': 'before',
  'PUT /actions FlushMetrics': 'after',
  'PUT /actions SendCtrlAltDel': 'after',
  'PATCH /vm': 'after',
  'PATCH /drives': 'after',
  'PATCH /network-interfaces': 'after',
  'PUT /snapshot/create': 'paused',
};

/** Allowed before a snapshot is loaded; each other request of a fresh process makes it one that only boots. */
const HARMLESS_BEFORE_LOAD: ReadonlySet<string> = new Set(['PUT /logger', 'PUT /metrics', 'PUT /snapshot/load']);

/** The name of a request in this table: ids are left out, actions named. */
export function requestName(method: string, path: string, body: unknown): string {
  const name = `${method} ${path.replace(/^\/(drives|network-interfaces|pmem)\/.*$/, '/$1')}`;
  if (name !== 'PUT /actions') return name;
  return `${name} ${String((body as { readonly action_type?: unknown } | undefined)?.action_type)}`;
}

export function isConfiguration(name: string): boolean {
  return !name.startsWith('GET') && PHASES[name] === 'before' && !HARMLESS_BEFORE_LOAD.has(name);
}

/** Why a request is refused now; null: it is accepted. */
export function refusal(name: string, state: VmState, wasConfigured: boolean): string | null {
  const phase = PHASES[name];
  if (phase === undefined) return `The fake does not serve ${name}.`;
  const isStarted = state !== 'Not started';
  if (phase === 'before' && isStarted) return 'The requested operation is not supported after starting the microVM.';
  if ((phase === 'after' || phase === 'paused') && !isStarted) {
    return 'The requested operation is not supported before starting the microVM.';
  }
  if (phase === 'paused' && state !== 'Paused') {
    return 'Create snapshot error: Cannot save a microVM that runs: pause it first.';
  }
  if (name === 'PUT /snapshot/load' && wasConfigured) {
    return 'Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources.';
  }
  return null;
}
