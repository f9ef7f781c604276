/** `snapctr explain`: where the time of an invocation went, and why its VM was started as it was. */
import type { Command } from 'commander';
import { explain } from '../client/explain.ts';
import { clientAction, clientOptions, type ClientFlags, type Session } from './client-command.ts';
import { printable } from './printable.ts';

const EXAMPLES = `
The request id is in each answer, as x-snapfaas-request-id or x-amzn-requestid, and in the log. A controller remembers the
last invocations only: those that were started, waited or failed for longer than warm and fast ones.

Examples:
  $ snapctr explain 2f5e3c1e-8a1b-4c6e-9d0f-1a2b3c4d5e6f`;

export function registerExplainCommand(program: Command): void {
  clientOptions(program.command('explain'))
    .argument('<request-id>', 'of an invocation that is over')
    .description('say what an invocation waited for, and why it was not started better')
    .addHelpText('after', EXAMPLES)
    .action(clientAction(run));
}

async function run(session: Session, _flags: ClientFlags, requestId: string): Promise<void> {
  const invocations = await session.invocations.get(requestId);
  const now = Date.now();
  const blocks = invocations.map((one) => explain(one, now).map(printable).join('\n'));
  session.print(invocations, [blocks.join('\n\n')]);
}
