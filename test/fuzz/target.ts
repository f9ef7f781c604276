/** What a run of any target is asked for, and what it tells. */
export interface FuzzWish {
  readonly cases: number;
  /** Ends the run earlier; null: it does not. */
  readonly seconds: number | null;
  readonly seed: number;
}

export interface FuzzRun {
  readonly cases: number;
  readonly seconds: number;
}
