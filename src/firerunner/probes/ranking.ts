/** Runs in firerunner and in `snapctr doctor`. What `--vmm auto` takes: the best of what was proved to work. */
import type { QemuAccelerator } from '../../protocol/runner.ts';
import type { VmmCapabilities, VmmName } from '../../protocol/vmms.ts';
import type { ProbeResult, VmmProbe } from './result.ts';

/** A VMM that may be taken. */
export interface Candidate {
  readonly name: VmmName;
  /** As it is called in sentences. */
  readonly title: string;
  readonly capabilities: Pick<VmmCapabilities, 'jails'>;
  probe(): Promise<VmmProbe>;
}

export interface Ranking<C extends Candidate> {
  /** Null: none can be used. */
  readonly taken: C | null;
  /** How it runs guests; null for a VMM with one way. */
  readonly accelerator: QemuAccelerator | null;
  /** One sentence for the log: why this one and why none of the better ones; with all remedies if there is none. */
  readonly reason: string;
}

/**
 * The first that was seen to run a guest; the ones behind it are not probed. Never plain processes: they isolate nothing.
 *
 * @param candidates the best first.
 * @param jailed VMs are to be jailed: nothing takes the place of a VMM that does that.
 */
export async function rankVmms<C extends Candidate>(candidates: readonly C[], jailed: boolean): Promise<Ranking<C>> {
  const eligible = candidates.filter(({ capabilities }) => !jailed || capabilities.jails);
  const refused: { readonly candidate: C; readonly probe: VmmProbe }[] = [];
  for (const candidate of eligible) {
    const probe = await candidate.probe();
    if (probe.usable) {
      const others = refused.map((one) => `; not ${one.candidate.name}: ${one.probe.finding}`).join('');
      const reason = `${reasonFor(candidate.name, probe)}${others}`;
      return { taken: candidate, accelerator: probe.accelerator, reason };
    }
    refused.push({ candidate, probe });
  }
  return { taken: null, accelerator: null, reason: jailed ? noJails(refused, candidates) : noVmm(refused) };
}

export function reasonFor(name: VmmName, { accelerator, finding }: VmmProbe): string {
  return `${name}${accelerator === null ? '' : ` with ${accelerator}`}: ${finding}`;
}

type Refused = readonly { readonly candidate: Candidate; readonly probe: VmmProbe }[];

function noJails(refused: Refused, candidates: readonly Candidate[]): string {
  const why = refused.map(({ candidate, probe }) => `${candidate.title} cannot be used: ${withRemedy(probe)}`);
  const others = candidates.filter(({ capabilities }) => !capabilities.jails).map(({ title }) => title);
  return `${why.join('. ')}. ${others.join(' or ')} would run VMs without the jail that \`jailer\` asks for`;
}

function noVmm(refused: Refused): string {
  return (
    `no VMM can be used: ${refused.map(({ probe }) => withRemedy(probe)).join('; ')}. ` +
    'Without any, --vmm process runs functions as plain processes, without isolation'
  );
}

function withRemedy({ finding, remedy }: ProbeResult): string {
  return remedy === null ? finding : `${finding} (${remedy})`;
}
