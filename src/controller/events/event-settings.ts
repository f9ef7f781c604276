/** Runs in snapctr. How a function's events are tried, and where it is told how that ended. */

export interface EventSettings {
  /** Tries after the first one that fails, 0 to 2. */
  readonly maximumRetryAttempts: number;
  /** From accepting an event to its last try, in ms. */
  readonly maximumEventAgeMs: number;
  /** Targets; null: nobody is told. */
  readonly onSuccess: string | null;
  readonly onFailure: string | null;
  /** Gets the event itself when it fails for good, whether or not `onFailure` is told. */
  readonly deadLetter: string | null;
}

/** AWS's own. */
export const DEFAULT_EVENT_SETTINGS: EventSettings = {
  maximumRetryAttempts: 2,
  maximumEventAgeMs: 6 * 3600 * 1000,
  onSuccess: null,
  onFailure: null,
  deadLetter: null,
};
