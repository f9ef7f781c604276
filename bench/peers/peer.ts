/** What can run a workload and be asked for it. */
import type { Workload } from './workloads.ts';

export interface Peer {
  readonly name: string;
  /** Why it cannot run this workload, or not here; false: it can. */
  whyNot(workload: Workload): string | false;
  /** @throws NotInstalled if what it needs cannot be had. */
  open(workload: Workload): Promise<Running>;
}

/** A workload on a peer. Instances take a POST of the event as JSON, and answer with the result as JSON. */
export interface Running {
  /** A new instance to its first answer, in ms; the instance is ended then. */
  start(): Promise<number>;
  /** Has so many idle instances, each of which has answered. */
  hold(instances: number): Promise<void>;
  /** Where those that are held are asked. */
  target(): Target;
  close(): Promise<void>;
}

export interface Target {
  readonly url: string;
  readonly body: string;
  /** Requests that it takes at a time. */
  readonly connections: number;
  /** The process that all others of it are below. */
  readonly pid: number;
}

export class NotInstalled extends Error {
  override readonly name = 'NotInstalled';
}

/** A mistake of the benchmark, or of a peer. */
export function checkAnswer(workload: Workload, status: number, text: string): void {
  if (status !== 200 || !workload.isRight(JSON.parse(text))) {
    throw new Error(`wrong answer to ${workload.name}: ${status} ${text.slice(0, 300)}`);
  }
}
