/** Runs in `snapctr doctor`. A diagnosis for people: a line for each check, its remedy below it. */
import { styleText } from 'node:util';
import type { CheckResult, Status } from './check.ts';
import { CHECKS } from './checks.ts';
import type { Diagnosis } from './doctor.ts';

const STATUS_WIDTH = 'problem'.length;
const NAME_WIDTH = Math.max(...CHECKS.map(({ name }) => name.length));
const INDENT = ' '.repeat(STATUS_WIDTH + NAME_WIDTH + 4);

type Colour = 'green' | 'yellow' | 'red' | 'gray';
const COLOURS: Readonly<Record<Status, Colour>> = { ok: 'green', warning: 'yellow', problem: 'red', skipped: 'gray' };

/** @param coloured for a terminal. */
export function formatResult({ name, status, detail, remedy }: CheckResult, coloured: boolean): string {
  const line = `${paint(COLOURS[status], status.padEnd(STATUS_WIDTH), coloured)}  ${name.padEnd(NAME_WIDTH)}  ${detail}\n`;
  return remedy === null ? line : `${line}${INDENT}→ ${remedy}\n`;
}

export function formatConclusion(diagnosis: Diagnosis, coloured: boolean): string {
  const text = diagnosis.vmm === null ? `${capitalised(diagnosis.reason)}.` : goodNews(diagnosis);
  return `\n${paint(diagnosis.ok ? 'green' : 'red', text, coloured)}\n`;
}

function paint(colour: Colour, text: string, coloured: boolean): string {
  // Whether the stream shows colours was asked by the caller.
  return coloured ? styleText(colour, text, { validateStream: false }) : text;
}

function goodNews({ vmm, accelerator, checks }: Diagnosis): string {
  const how = accelerator === null ? (vmm ?? '') : `${vmm ?? ''} with ${accelerator}`;
  const warnings = checks.filter(({ status }) => status === 'warning').length;
  const more = warnings === 0 ? '' : ` Warnings: ${warnings}; what stands below them makes it faster or safer.`;
  return `Functions run in VMs here: ${how}.${more}`;
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
