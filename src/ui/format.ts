/** Runs in the live page. Numbers and times as people read them. */

const WHOLE = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const ONE = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });

export function count(value: number): string {
  return WHOLE.format(value);
}

export function mib(value: number): string {
  return value >= 1024 ? `${ONE.format(value / 1024)} GiB` : `${WHOLE.format(value)} MiB`;
}

export function ms(value: number): string {
  if (value >= 10_000) return `${ONE.format(value / 1000)} s`;
  if (value >= 1000) return `${(value / 1000).toFixed(2)} s`;
  return value >= 100 ? `${WHOLE.format(value)} ms` : `${ONE.format(value)} ms`;
}

export function perSecond(value: number): string {
  if (value === 0) return '0';
  if (value < 0.05) return '<0.1';
  return value < 10 ? ONE.format(value) : WHOLE.format(value);
}

/** Such as "3 h 5 min". */
export function span(valueMs: number): string {
  const s = Math.max(0, Math.floor(valueMs / 1000));
  if (s < 60) return `${s} s`;
  const min = Math.floor(s / 60);
  if (min < 60) return `${min} min`;
  const h = Math.floor(min / 60);
  return h < 48 ? `${h} h ${min % 60} min` : `${Math.floor(h / 24)} d ${h % 24} h`;
}

export function clock(atMs: number): string {
  return new Date(atMs).toLocaleTimeString('en-GB');
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}
