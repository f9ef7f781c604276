/** Runs in snapctr. A gateway turns bytes from outside into tasks, and outcomes into bytes. It never knows about VMs. */
import type { Task } from '../task.ts';

/**
 * Hands a task over. From then on exactly one `task.reply` follows.
 *
 * @throws SnapfaasError if the task was not taken (`function_not_found`, `queue_full`, `shutting_down`); no reply follows.
 */
export type SubmitTask = (task: Task) => void;

export interface Gateway {
  /** Resolves when requests are accepted. */
  start(): Promise<void>;
  /** Takes no new request; resolves when every task it submitted is answered and its answer written. */
  drain(): Promise<void>;
  /** Ends at once: open connections and files are closed. */
  close(): Promise<void>;
}
