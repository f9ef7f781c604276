/**
 * A snapctr without its front door that makes random changes until it is killed. A line for each before it begins, and one when it
 * is acknowledged: `{"name", "after"}`, with what the function is then.
 */
import { ControlError } from '../../src/control/control-error.ts';
import { seeded } from '../../src/workload/random.ts';
import type { Workspace } from '../support/snapctr.ts';
import { newFunction, openStand, packageOf, type Stand } from './stand.ts';

/** What is looked at of a function; null: there is none. */
export type Essence = { readonly text: string; readonly tag: string; readonly lastNumber: number } | null;

export interface CrashLine {
  readonly step: 'begin' | 'done' | 'refused';
  readonly name: string;
  readonly after: Essence;
}

const NAMES = ['a', 'b', 'c'];
const ANY = { revisionId: null };

async function change(stand: Stand, name: string, before: Essence, text: string, choice: number): Promise<Essence> {
  const { functions } = stand.control;
  if (before === null) {
    const code = await stand.receive(packageOf(text));
    const after = { text, tag: '', lastNumber: 0 };
    tell('begin', name, after);
    await functions.create(newFunction(name, code));
    return after;
  }
  if (choice < 0.15) {
    tell('begin', name, null);
    await functions.delete(name);
    return null;
  }
  if (choice < 0.55) {
    const code = await stand.receive(packageOf(text));
    tell('begin', name, { ...before, text });
    await functions.updateCode(name, { ...ANY, code, publish: false, dryRun: false }).catch(async (error: unknown) => {
      await code.discard();
      throw error;
    });
    return { ...before, text };
  }
  if (choice < 0.75) {
    tell('begin', name, { ...before, lastNumber: before.lastNumber + 1 });
    await functions.publish(name, { ...ANY, codeSha256: null, description: null });
    return { ...before, lastNumber: functions.find(name)?.lastNumber ?? 0 };
  }
  tell('begin', name, { ...before, tag: text });
  await functions.tag(name, { tag: text });
  return { ...before, tag: text };
}

function tell(step: CrashLine['step'], name: string, after: Essence): void {
  process.stdout.write(`${JSON.stringify({ step, name, after } satisfies CrashLine)}\n`);
}

/** @param states of before, by name. */
async function run(config: string, data: string, seed: number, states: Record<string, Essence>): Promise<void> {
  const random = seeded(seed);
  const stand = await openStand({ config } as Workspace, data);
  for (let step = 0; ; step += 1) {
    const name = NAMES[Math.floor(random() * NAMES.length)] ?? 'a';
    const before = states[name] ?? null;
    try {
      const after = await change(stand, name, before, `${seed}-${step}`, random());
      states[name] = after;
      tell('done', name, after);
    } catch (error) {
      if (!(error instanceof ControlError) || error.code !== 'conflict') throw error;
      tell('refused', name, before);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

const [config, data, seed, states] = process.argv.slice(2);
if (config !== undefined && data !== undefined && seed !== undefined && states !== undefined) {
  await run(config, data, Number(seed), JSON.parse(states) as Record<string, Essence>);
}
