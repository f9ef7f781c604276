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
