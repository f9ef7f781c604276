/** Exit statuses of snapctr, as far as commands do not have more of their own. */

export const EXIT_OK = 0;
/** A request of the file failed, or the run broke off. */
export const EXIT_FAILED = 1;
/** Command line or configuration; nothing was started. */
export const EXIT_USAGE = 2;
