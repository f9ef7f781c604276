/** Runs in the live page. One function: how it does, what it prints, what it answers. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { configurationOf, versionsOf, type FunctionDetails } from './api.ts';
import { Dot } from './dot.tsx';
import { count, mib, ms, perSecond, plural } from './format.ts';
import { State } from './functions.tsx';
import { FunctionStartsOf, useFunctionView, Versions } from './function-view.tsx';
import { Invocations } from './invocations.tsx';
import { InvokeForm } from './invoke-form.tsx';
import { Output } from './output.tsx';
import { useTables } from './store.ts';
import { Vms } from './vms.tsx';

export function FunctionPage({ name, vm }: { readonly name: string; readonly vm: string | null }): JSX.Element {
  const { functions, activity, pending, host } = useTables('functions', 'activity', 'pending', 'host');
  const row = functions.get(name);
  const last = activity.get(name);
  const isKnown = host.state !== undefined;
  const wasThere = useWasThere(row !== undefined);
  const view = useFunctionView(name, last?.lastEndedAtMs ?? 0, row !== undefined);
  return (
    <>
      <header class="title">
        <a href="#/">All functions</a>
        <h1>
          <Dot name={name} /> {name} {row !== undefined && <State state={row.state} deploying={row.deploying} />}
        </h1>
        {row !== undefined && (
          <p class="quiet">
            {row.runtime ?? 'own root file system'}, {mib(row.mib)}, snapshot {row.snapshot ?? 'not used'},{' '}
            {last === undefined
              ? 'no requests in the last minute'
              : `${perSecond(last.requests / 60)} requests/s, ${plural(last.errors, 'error')}, p50 ${ms(last.p50Ms)}, p99 ${ms(last.p99Ms)}`}
            {(pending.get(name) ?? 0) > 0 && `, ${plural(pending.get(name) ?? 0, 'event')} pending`}
          </p>
        )}
      </header>
      {isKnown && row === undefined && (
        <p class="banner error" role="alert">
          {wasThere ? `${name} was deleted. What is below is what was known of it.` : `There is no function ${name}.`}
        </p>
      )}
      {row?.problems?.map((problem) => (
        <p key={problem} class="banner error">
          {problem}
        </p>
      ))}
      {(row !== undefined || wasThere) && (
        <>
          <div class="columns">
            <InvokeForm name={name} isGone={row === undefined} />
            <div class="stack">
              <Configuration name={name} seen={row && JSON.stringify(row)} />
              <Versions view={view} />
            </div>
          </div>
          <Output name={name} seen={last?.lastEndedAtMs ?? 0} />
          <Invocations name={name} seen={last?.lastEndedAtMs ?? 0} />
          <FunctionStartsOf view={view} />
          <Vms name={name} chosen={vm} />
        </>
      )}
    </>
  );
}

function useWasThere(isThere: boolean): boolean {
  const [was, setWas] = useState(isThere);
  useEffect(() => {
    if (isThere) setWas(true);
  }, [isThere]);
  return was || isThere;
}

interface ConfigurationProps {
  readonly name: string;
  /** Another text when something has changed; undefined: there is no such function any more. */
  readonly seen: string | undefined;
}

function Configuration({ name, seen }: ConfigurationProps): JSX.Element {
  const [latest, setLatest] = useState<FunctionDetails | null>(null);
  const [versions, setVersions] = useState<readonly FunctionDetails[] | null>(null);
  useEffect(() => {
    if (seen === undefined) return;
    const stop = new AbortController();
    configurationOf(name, stop.signal).then(setLatest, () => undefined);
    versionsOf(name, stop.signal).then(setVersions, () => undefined);
    return () => stop.abort();
  }, [name, seen]);
  const environment = latest === null ? null : Object.keys(latest.Environment?.Variables ?? {});
  const numbers = versions?.flatMap(({ Version }) => (Version === '$LATEST' ? [] : [Version])) ?? null;
  return (
    <section class="card" aria-labelledby="configuration">
      <header>
        <h2 id="configuration">Configuration</h2>
      </header>
      <dl class="facts-list">
        <Fact name="Handler" value={latest?.Handler} />
        <Fact name="Timeout" value={latest?.Timeout === undefined ? undefined : `${count(latest.Timeout)} s`} />
        <Fact name="Changed" value={latest?.LastModified?.slice(0, 19).replace('T', ' ')} />
        <Fact name="Code" value={latest?.CodeSha256?.slice(0, 16)} />
        <Fact name="Environment" value={listed(environment, 'none')} />
        <Fact name="Versions" value={listed(numbers, 'none published')} />
      </dl>
    </section>
  );
}

/** @param values null: they are not known yet. */
function listed(values: readonly string[] | null, none: string): string | undefined {
  if (values === null) return undefined;
  return values.length === 0 ? none : values.join(', ');
}

function Fact({ name, value }: { readonly name: string; readonly value: string | undefined }): JSX.Element {
  return (
    <>
      <dt>{name}</dt>
      <dd>{value === undefined || value === '' ? '–' : value}</dd>
    </>
  );
}
