/** Runs in snapctr. What a function uses of the host, all of its versions together. */
import { Demand } from './demand.ts';
import type { Holder } from './keep-alive.ts';

/** The requests of one tenant of a function: they take turns with those of others. */
export interface TenantTurn {
  readonly tenant: string;
  requests: number;
}

export class FunctionUse implements Holder {
  readonly name: string;
  /** Most requests at once; null: as many as memory allows VMs for. */
  concurrencyLimit: number | null = null;
  /** Requests that have a VM or wait for its launch, and launches that nobody waits for. */
  inUse = 0;
  /** Memory of all its VMs, in MiB. */
  heldMib = 0;
  readonly demand = new Demand();

  /** Requests of all tenants, waiting or running. */
  tenantRequests = 0;
  /** Tenants that have requests here; the others are forgotten. */
  readonly #tenants = new Map<string, TenantTurn>();

  constructor(name: string) {
    this.name = name;
  }

  /** Of the tenants that have requests here. */
  get turns(): readonly TenantTurn[] {
    return [...this.#tenants.values()];
  }

  /** Null: it has no request here. */
  turnOf(tenant: string): TenantTurn | null {
    return this.#tenants.get(tenant) ?? null;
  }

  /** A request of a tenant begins to wait; `leave` when it is answered. */
  enter(tenant: string): TenantTurn {
    let turn = this.#tenants.get(tenant);
    if (turn === undefined) this.#tenants.set(tenant, (turn = { tenant, requests: 0 }));
    turn.requests += 1;
    this.tenantRequests += 1;
    return turn;
  }

  leave(turn: TenantTurn): void {
    turn.requests -= 1;
    this.tenantRequests -= 1;
    if (turn.requests === 0) this.#tenants.delete(turn.tenant);
  }

  get isAtLimit(): boolean {
    return this.concurrencyLimit !== null && this.inUse >= this.concurrencyLimit;
  }
}
