/** Runs in each program. */
import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * Where things are kept that can be had again, such as downloads and images of functions: `$XDG_CACHE_HOME/snapfaas`, by
 * default `~/.cache/snapfaas`.
 */
export function cacheDirectory(): string {
  const base = process.env['XDG_CACHE_HOME'];
  return join(base !== undefined && base.startsWith('/') ? base : join(homedir(), '.cache'), 'snapfaas');
}

/** What to do if it cannot be written to. */
export const CACHE_HELP = 'set XDG_CACHE_HOME, or HOME, to a directory of yours';
