/** `snapctr invoke`: runs a function of a running controller. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import type { Command } from 'commander';
import { badInput } from '../client/client-error.ts';
import { MAX_PAYLOAD_BYTES } from '../protocol/guest.ts';
import { messageOf } from '../protocol/errors.ts';
import { clientAction, clientOptions, EXIT, type ClientFlags, type Session } from './client-command.ts';
import { notEmpty } from './flags.ts';

interface InvokeFlags extends ClientFlags {
  readonly payload?: string;
  readonly async?: true;
  readonly log?: true;
  readonly qualifier?: string;
}

const EXAMPLES = `
Examples:
  $ snapctr invoke hello
  $ snapctr invoke hello --payload '{"name": "Ada"}' --log
  $ snapctr invoke hello:live --payload event.json
  $ echo '{"name": "Ada"}' | snapctr invoke hello --payload -
  $ snapctr invoke report --async

The result goes to stdout, what the function printed (--log) to stderr. Exit status: 3 if the function failed.`;

export function registerInvokeCommand(program: Command): void {
  clientOptions(program.command('invoke'))
    .argument('<name>', 'the function, also as NAME:VERSION or NAME:ALIAS', notEmpty)
    .description('run a function and show what it returns')
    .option('--payload <json>', 'what it gets: JSON, a file with it, or - for stdin (default: {})')
    .option('--async', 'do not wait for it')
    .option('--log', 'show the end of what it prints')
    .option('--qualifier <version>', 'a version or an alias', notEmpty)
    .addHelpText('after', EXAMPLES)
    .action(clientAction(run));
}

async function run(session: Session, flags: InvokeFlags, name: string): Promise<void> {
  const payload = await readPayload(flags.payload ?? '{}');
  const isEvent = flags.async === true;
  if (isEvent && flags.log === true)
    badInput('--log shows what a function has printed, which --async does not wait for; leave one out');
  const result = await session.client.invoke(name, {
    payload,
    type: isEvent ? 'Event' : 'RequestResponse',
    wantsLog: flags.log === true,
    qualifier: flags.qualifier ?? null,
  });
  const { functionError, log, version, requestId, start } = result;
  if (log !== null && !session.json) process.stderr.write(log.endsWith('\n') ? log : `${log}\n`);
  const text = result.payload.toString('utf8');
  const shown = { function: name, version, requestId, start, functionError, log, payload: parsed(text) };
  session.print(shown, isEvent ? [`accepted, request ${requestId ?? ''}`] : [text]);
  if (functionError !== null) {
    if (!session.json) process.stderr.write(`error: ${name} failed\n`);
    process.exitCode = EXIT.functionFailed;
  }
}

async function readPayload(given: string): Promise<Buffer> {
  const [bytes, called] = await payloadBytes(given);
  if (bytes.length > MAX_PAYLOAD_BYTES)
    badInput(`${called} is larger than ${MAX_PAYLOAD_BYTES} bytes, which a request may have`);
  try {
    JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    badInput(`${called} is not JSON: ${messageOf(error)}`, error);
  }
  return bytes;
}

async function payloadBytes(given: string): Promise<readonly [Buffer, string]> {
  if (given === '-') return [await buffer(process.stdin), 'stdin'];
  if (!existsSync(given)) {
    // Neither a text in JSON nor a file: which was meant shows in how it begins.
    const isText = /^\s*[[{"\d-]|^\s*(null|true|false)\s*$/.test(given);
    if (!isText)
      badInput(`--payload: there is no file ${given}, and it is not JSON; correct the path, or quote the JSON`);
    return [Buffer.from(given), '--payload'];
  }
  try {
    return [await readFile(given), given];
  } catch (error) {
    return badInput(`--payload: ${given} cannot be read; name a file with JSON`, error);
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text === '' ? null : text;
  }
}
