/** Runs in snapctr. How many schedules there may be, wherever they come from. */
export const MAX_SCHEDULES_OF_FUNCTION = 100;
/** Of all functions together. */
export const MAX_SCHEDULES = 10_000;
