/** `snapctr top`: the main view of the live page, in a terminal. */
import type { Command } from 'commander';
import type { LiveState } from '../protocol/live-state.ts';
import { clientAction, clientOptions, type ClientFlags, type Session } from './client-command.ts';
import { drawTop, topAsJson } from './top-view.ts';

interface TopFlags extends ClientFlags {
  readonly once?: true;
}

const EXAMPLES = `
Keys: q or Ctrl-C ends it. Where there is no terminal it shows the state once, as with --once.

Examples:
  $ snapctr top
  $ snapctr top --once --json`;

/** Between two pictures, in ms. */
const REDRAW_MS = 250;
const COLUMNS = 100;
const ROWS = 40;
/** Another screen, and no cursor; and back. */
const ENTER = '\u001b[?1049h\u001b[?25l';
const LEAVE = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const CLEAR_REST = '\u001b[J';

export function registerTopCommand(program: Command): void {
  clientOptions(program.command('top'))
    .description('show what runs: memory, queue, starts and the busiest functions, as it changes')
    .option('--once', 'show it once')
    .addHelpText('after', EXAMPLES)
    .action(clientAction(run));
}

async function run(session: Session, flags: TopFlags): Promise<void> {
  const { stdin, stdout } = process;
  if (session.json || flags.once === true || !stdout.isTTY) {
    for await (const state of session.live.states()) {
      return session.print(topAsJson(state), drawTop(state, { columns: COLUMNS, rows: ROWS, color: false }));
    }
    return;
  }
  const leave = new AbortController();
  const onKey = (key: Buffer): void => {
    // Ctrl-C is a key too while the terminal is raw.
    if (key.includes('q') || key.includes(3)) leave.abort();
  };
  const isRaw = stdin.isTTY;
  if (isRaw) stdin.setRawMode(true).resume().on('data', onKey);
  stdout.write(ENTER);
  const screen = new Screen();
  stdout.on('resize', screen.draw);
  try {
    for await (const state of session.live.states(leave.signal)) screen.show(state);
  } catch (error) {
    if (!leave.signal.aborted) throw error;
  } finally {
    screen.close();
    stdout.off('resize', screen.draw).write(LEAVE);
    if (isRaw) stdin.off('data', onKey).setRawMode(false).pause();
  }
}

/** Draws the last state, some times a second at most. */
class Screen {
  #state: LiveState | null = null;
  #timer: NodeJS.Timeout | null = null;

  show(state: LiveState): void {
    const isFirst = this.#state === null;
    this.#state = state;
    if (isFirst) return this.draw();
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.draw();
    }, REDRAW_MS);
  }

  readonly draw = (): void => {
    if (this.#state === null) return;
    const { columns, rows } = process.stdout;
    // Some terminals do not say how large they are.
    const size = columns > 0 && rows > 0 ? { columns, rows } : { columns: COLUMNS, rows: ROWS };
    const lines = drawTop(this.#state, { ...size, color: process.env['NO_COLOR'] === undefined });
    process.stdout.write(`${HOME}${lines.map((line) => `${line}\u001b[K`).join('\r\n')}${CLEAR_REST}`);
  };

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
  }
}
