/** Runs in snapctr. What `GET /status` answers, as a schema: docs/status.schema.json is made of it, and a test compares them. */
import { z } from 'zod';

const count = z.number().int().nonnegative();
const mib = count.describe('MiB');

export const statusSchema = z
  .strictObject({
    state: z.enum(['running', 'draining']),
    workers: z.strictObject({ total: count, busy: count }),
    queue: z.strictObject({ length: count, capacity: count }).describe('requests that wait for a VM, and may'),
    memory: z.strictObject({ total_mib: mib, reserved_mib: mib, free_mib: mib, idle_mib: mib }),
    counters: z
      .strictObject({ launches: count, evictions: count, reuses: count })
      .describe('VMs since the start: launched, ended to make room, and found idle by a request'),
    standby: z
      .strictObject({ budget_mib: mib, vms: count })
      .describe('VMs launched ahead that wait for their first request'),
    provisioned: z.strictObject({ requested: count, available: count }).describe('VMs of provisioned concurrency'),
    functions: count,
    deploying: count.describe('functions of which a version is being made ready'),
    broken: z
      .array(z.looseObject({ name: z.string().nullable(), problems: z.array(z.string()) }))
      .describe('functions that cannot run, and why; null: an entry of the configuration without a name'),
    snapshots: z
      .strictObject({ preparing: count, ready: count, failed: count })
      .describe('snapshots of functions; all zero where none are used'),
    vms: z
      .record(z.string(), z.partialRecord(z.enum(['launching', 'busy', 'idle', 'dead']), count))
      .describe('by function and state; functions without a VM are left out'),
    runner_pid: count.nullable().describe('process id of firerunner; null while there is none'),
    events: z
      .strictObject({
        durable: z.boolean().describe('whether they outlive snapctr'),
        pending: count,
        oldest_ms: z.number().describe('age of the oldest that is pending'),
        dead: count,
        tried_again: count.describe('since the start'),
        failed: count.describe('for good, since the start'),
      })
      .describe('invocations of type Event'),
    schedules: z
      .strictObject({
        total: count,
        paused: count,
        due: count.describe('events that they became, since the start'),
        missed: count.describe('due times that became none, since the start'),
      })
      .describe('schedules of all functions'),
    event_sources: z
      .strictObject({
        total: count,
        enabled: count,
        failing: count.describe('enabled ones that could not do what they last tried'),
        held_bytes: count.describe('of messages that are here'),
      })
      .optional()
      .describe('event source mappings of all functions; absent without NATS servers'),
  })
  .describe('The state of a controller, as GET /status answers it');

/** Its members, for whoever puts it together. */
export type StatusMember = keyof z.infer<typeof statusSchema>;
