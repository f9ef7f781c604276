/**
 * Runs in snapctr. One event of a function's log, and the line that a file has of it:
 *
 * ```
 *   {"t":1764345600000,"s":"2026/11/28/[$LATEST]8f0c…","r":"0b9d…","m":"hello"}
 * ```
 */

/** What a VM printed, or what is said of one of its invocations. */
export interface LogEvent {
  /** ms since 1970. */
  readonly timeMs: number;
  /** Of the VM. */
  readonly stream: string;
  /** Of the invocation; null: it was printed before the first one, or it is not known any more which one it was. */
  readonly requestId: string | null;
  /** Without its line end. */
  readonly message: string;
}

/** @returns the line, with its end. */
export function encodeEvent({ timeMs, stream, requestId, message }: LogEvent): string {
  const request = requestId === null ? '' : `"r":"${requestId}",`;
  return `{"t":${timeMs},"s":"${stream}",${request}"m":${JSON.stringify(message)}}\n`;
}

/** @returns null for what is none, such as a line that was cut off when the host lost its power. */
export function decodeEvent(line: string): LogEvent | null {
  try {
    const { t, s, r, m } = JSON.parse(line) as Readonly<Record<string, unknown>>;
    if (typeof t !== 'number' || typeof s !== 'string' || typeof m !== 'string') return null;
    return { timeMs: t, stream: s, requestId: typeof r === 'string' ? r : null, message: m };
  } catch {
    return null;
  }
}

/** Name of the log of one VM, as AWS Lambda names those of its environments. @param id 32 hex digits. */
export function streamName(timeMs: number, version: string, id: string): string {
  const day = new Date(timeMs).toISOString().slice(0, 10).replaceAll('-', '/');
  return `${day}/[${version}]${id}`;
}

/** Whether a stream is of a VM that held this version. */
export function isOfVersion(stream: string, version: string): boolean {
  return stream.includes(`/[${version}]`);
}
