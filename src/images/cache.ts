import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where downloads and function images are kept between builds: `$XDG_CACHE_HOME/snapfaas`, by default `~/.cache/snapfaas`. */
export function cacheDirectory(): string {
  const base = process.env['XDG_CACHE_HOME'];
  return join(base !== undefined && base.startsWith('/') ? base : join(homedir(), '.cache'), 'snapfaas');
}
