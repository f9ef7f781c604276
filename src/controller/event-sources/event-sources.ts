/** Runs in snapctr. The gateway of event sources: a mapping runs for each that the registry has. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LambdaAccount } from '../../protocol/arn.ts';
import { messageOf } from '../../protocol/errors.ts';
import type { FunctionEventSource, FunctionRegistry } from '../../registry/function-registry.ts';
import type { Gateway } from '../gateway/gateway.ts';
import type { Logger } from '../log.ts';
import { Mapping, NOTHING_YET, type MappingOptions, type MappingState } from './mapping.ts';
import { removeConsumer } from './stream-consumer.ts';
import { pauseMs } from './pauses.ts';
import { Room } from './room.ts';

/** How long messages may take to be given back at the end, in ms. */
const LAST_ANSWERS_MS = 3000;

export interface EventSourcesOptions extends Omit<MappingOptions, 'room'> {
  readonly registry: FunctionRegistry;
  readonly account: LambdaAccount;
  readonly logger: Logger;
}

/** What `/status` tells. */
export interface EventSourcesStatus {
  readonly total: number;
  readonly enabled: number;
  /** Of those, the ones that could not do what they last tried. */
  readonly failing: number;
  /** Bytes of messages that are here. */
  readonly held_bytes: number;
}

export class EventSources implements Gateway {
  readonly #options: EventSourcesOptions;
  readonly #mappings = new Map<string, Mapping>();
  readonly #ofFunction = new Map<string, readonly FunctionEventSource[]>();
  /** Mappings that are gone, until all their messages are answered for and their consumers are removed. */
  readonly #ending = new Map<string, Promise<void>>();
  readonly #room: Room;
  readonly #stop = new AbortController();

  constructor(options: EventSourcesOptions) {
    this.#options = options;
    this.#room = new Room(
      () => this.#mappings.size,
      () => this.#wakeAll(),
    );
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- as other gateways start
  async start(): Promise<void> {
    const { registry } = this.#options;
    registry.listen({
      onEventSources: (name) => this.#set(name, registry.get(name)?.eventSources ?? []),
      onChanged: (name) => this.#wakeOf(name),
    });
    for (const { name, eventSources } of registry.list()) if (eventSources.length > 0) this.#set(name, eventSources);
  }

  /** Messages that have no batch yet are given back; those that run are answered for. */
  async drain(): Promise<void> {
    this.#stop.abort();
    await Promise.all([...[...this.#mappings.values()].map((one) => one.stop()), ...this.#ending.values()]);
  }

  async close(): Promise<void> {
    // What runs is answered `shutting_down` by now, and can be given back.
    await Promise.race([this.drain(), sleep(LAST_ANSWERS_MS, undefined, { ref: false })]);
    await this.#options.client.close();
  }

  /** The connection is there, perhaps again. */
  onConnected(): void {
    for (const mapping of this.#mappings.values()) mapping.reconnected();
  }

  /** @param source of the registry. */
  stateOf({ id, isEnabled }: FunctionEventSource): MappingState {
    const mapping = this.#mappings.get(id);
    return mapping?.state ?? { state: isEnabled ? 'Creating' : 'Disabled', lastResult: NOTHING_YET };
  }

  status(): EventSourcesStatus {
    const enabled = [...this.#mappings.values()].filter(({ source }) => source.isEnabled);
    return {
      total: this.#mappings.size,
      enabled: enabled.length,
      failing: enabled.filter(({ isFailing }) => isFailing).length,
      held_bytes: this.#room.heldBytes,
    };
  }

  #wakeAll(): void {
    for (const mapping of this.#mappings.values()) mapping.wake();
  }

  #wakeOf(name: string): void {
    for (const { id } of this.#ofFunction.get(name) ?? []) this.#mappings.get(id)?.wake();
  }

  /** These are the function's event sources from now on. */
  #set(name: string, sources: readonly FunctionEventSource[]): void {
    if (this.#stop.signal.aborted) return;
    const wanted = new Set(sources.map(({ id }) => id));
    for (const { id } of this.#ofFunction.get(name) ?? []) if (!wanted.has(id)) this.#remove(id);
    if (sources.length > 0) this.#ofFunction.set(name, sources);
    else this.#ofFunction.delete(name);
    for (const source of sources) {
      const mapping = this.#mappings.get(source.id);
      if (mapping !== undefined) mapping.source = source;
      else this.#add(source);
    }
  }

  #add(source: FunctionEventSource): void {
    const ending = this.#ending.get(source.id);
    if (ending === undefined) {
      this.#mappings.set(source.id, new Mapping(source, { ...this.#options, room: this.#room }));
      return;
    }
    // Its consumer is about to be removed: it is made anew afterwards.
    void ending.then(() => {
      const { registry } = this.#options;
      const now = registry.eventSource(source.id);
      if (now !== undefined && !this.#stop.signal.aborted && !this.#mappings.has(source.id)) this.#add(now);
    });
  }

  #remove(id: string): void {
    const mapping = this.#mappings.get(id);
    if (mapping === undefined) return;
    this.#mappings.delete(id);
    const ending = this.#end(mapping).finally(() => {
      if (this.#ending.get(id) === ending) this.#ending.delete(id);
    });
    this.#ending.set(id, ending);
  }

  async #end(mapping: Mapping): Promise<void> {
    const { client, logger } = this.#options;
    const { id, stream } = mapping.source;
    await mapping.stop();
    for (let failures = 0; !this.#stop.signal.aborted; failures += 1) {
      try {
        return await removeConsumer(client.connection(), stream, id);
      } catch (error) {
        logger.debug(`the consumer of the event source ${id} is not removed yet: ${messageOf(error)}`);
      }
      await new Promise<void>((resolve) => {
        const done = (): void => {
          clearTimeout(timer);
          this.#stop.signal.removeEventListener('abort', done);
          resolve();
        };
        const timer = setTimeout(done, pauseMs(failures));
        this.#stop.signal.addEventListener('abort', done);
      });
    }
    logger.warn({ stream }, `the consumer snapfaas-${id} of an event source that is gone could not be removed`);
  }
}
