/** Runs in snapctr. How many event sources there may be, wherever they come from: each has a request for messages under way. */
export const MAX_EVENT_SOURCES_OF_FUNCTION = 10;
/** Of all functions together. */
export const MAX_EVENT_SOURCES = 100;
/** AWS's own bounds. */
export const MAX_BATCH_SIZE = 10_000;
export const DEFAULT_BATCH_SIZE = 100;
export const MAX_BATCHING_WINDOW_S = 300;
export const MAX_PARALLELIZATION = 10;
export const MAX_RETRY_ATTEMPTS = 10_000;
/** Names that JetStream takes, in part: they are in subjects, and in ARNs. */
export const STREAM_NAME = /^[a-zA-Z0-9_-]{1,200}$/;
