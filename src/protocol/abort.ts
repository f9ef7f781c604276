/**
 * Runs in each program. Waiting with a signal. No listener is left behind: signals may live as long as a program, and what
 * `AbortSignal.any` makes of such a one is never given back. Nor does it hold an `AbortSignal.timeout` that it was given: that one is
 * collected with its timer, and never aborts.
 */

/** Why it was aborted, as an error. */
export function abortReason(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason));
}

/**
 * Waits for `promise` as long as the signal lets it; what becomes of it afterwards is nobody's matter.
 *
 * @throws the signal's reason, or what `promise` rejects with.
 */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(abortReason(signal));
    if (signal.aborted) {
      promise.catch(() => undefined);
      return onAbort();
    }
    signal.addEventListener('abort', onAbort, { once: true });
    const settled = (): void => signal.removeEventListener('abort', onAbort);
    promise.then(
      (value) => (settled(), resolve(value)),
      (error: unknown) => (settled(), reject(error instanceof Error ? error : new Error(String(error)))),
    );
  });
}

/** Runs `work` with a signal that is aborted by the first of `signals`, for as long as the work lasts. */
export async function withAny<T>(
  signals: readonly AbortSignal[],
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const any = new AbortController();
  const listeners = signals.map((signal) => [signal, (): void => any.abort(signal.reason)] as const);
  for (const [signal, onAbort] of listeners) {
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  }
  try {
    return await work(any.signal);
  } finally {
    for (const [signal, onAbort] of listeners) signal.removeEventListener('abort', onAbort);
  }
}

/**
 * Runs `work` with a signal that is aborted by `signal`, or with a `TimeoutError` after `limitMs`.
 *
 * @param signal undefined: nobody calls it off.
 */
export async function withLimit<T>(
  limitMs: number,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = new AbortController();
  const timer = setTimeout(() => {
    limit.abort(new DOMException(`it was not done within ${limitMs} ms`, 'TimeoutError'));
  }, limitMs);
  try {
    return await withAny(signal === undefined ? [limit.signal] : [signal, limit.signal], work);
  } finally {
    clearTimeout(timer);
  }
}
