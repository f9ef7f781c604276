/**
 * Runs in the fake Firecracker. The machine behind the API: which request comes when, and what it does.
 *
 * ```
 *   Not started ── InstanceStart ──▶ Running ⇄ Paused      PATCH /vm
 *        └──────── snapshot/load ──▶ Running │ Paused      by resume_vm; a failed load ends the process
 * ```
 */
import { appendFileSync, closeSync, openSync } from 'node:fs';
import { fault, type ApiAnswer } from './api-server.ts';
import { faultMessage } from './fault-messages.ts';
import {
  Configuration,
  type BootSource,
  type Drive,
  type MachineConfig,
  type NetworkInterface,
  type Vsock,
} from './configuration.ts';
import type { ApiDescription } from './description.ts';
import { snapshotFormat, type Environment } from './environment.ts';
import type { Faults } from './faults.ts';
import type { Guest } from './guest.ts';
import type { GuestMemory } from './guest-memory.ts';
import type { HttpRequest } from './http-parser.ts';
import type { JailPaths } from './jail-paths.ts';
import type { Journal } from './journal.ts';
import type { MappedFile } from './mapped-file.ts';
import { isConfiguration, refusal, requestName, type VmState } from './request-order.ts';
import { createSnapshot, loadSnapshot, type LoadParameters, type CreateParameters } from './snapshots.ts';
import { bootGuest, checkMemory } from './starting.ts';
import { VsockDevice } from './vsock.ts';

export interface MachineSurroundings {
  readonly id: string;
  readonly environment: Environment;
  readonly description: ApiDescription;
  readonly faults: Faults;
  readonly journal: Journal;
  readonly paths: JailPaths;
  /** Ends the process; does not return in time for anything else. */
  readonly exit: (status: number, reason: string) => void;
  readonly print: (line: string) => void;
  /** Prints a line of the VMM's own, as one of its threads. */
  readonly log: (thread: string, text: string) => void;
}

export class Machine {
  readonly configuration: Configuration;
  readonly surroundings: MachineSurroundings;
  vsock: VsockDevice | null = null;
  memory: GuestMemory | null = null;
  guest: Guest | null = null;
  /** The memory file of a restored machine. */
  mapped: MappedFile | null = null;
  #state: VmState = 'Not started';
  #wasConfigured = false;
  #metricsPath: string | null = null;

  constructor(surroundings: MachineSurroundings) {
    this.surroundings = surroundings;
    this.configuration = new Configuration(surroundings.paths, surroundings.environment.tapLocks);
  }

  async answer({ method, path, body }: HttpRequest): Promise<ApiAnswer> {
    let value: unknown;
    try {
      value = body === null ? undefined : JSON.parse(body.toString('utf8'));
    } catch (error) {
      return fault(`An error occurred when deserializing the json body of a request: ${String(error)}.`);
    }
    const name = requestName(method, path, value);
    const { problems, deprecated } = this.surroundings.description.check(method, path, value);
    const why = problems[0] ?? refusal(name, this.#state, this.#wasConfigured);
    // A configuration that is refused counts as one.
    if (isConfiguration(name)) this.#wasConfigured = true;
    if (why !== null) return this.#refused(why);
    try {
      const answer = await this.#act(name, value);
      return deprecated.length > 0 ? { ...answer, isDeprecated: true } : answer;
    } catch (error) {
      const message = faultMessage(name, error);
      if (name !== 'PUT /snapshot/load') return this.#refused(message);
      // A machine that was half loaded is of no use.
      return {
        ...this.#refused(message),
        sent: () => this.surroundings.exit(1, `the snapshot was not loaded: ${message}`),
      };
    }
  }

  /** On its console as well, whatever the level of its log. */
  #refused(message: string): ApiAnswer {
    this.surroundings.log('fc_api', `Received Error. Status code: 400 Bad Request. Message: ${message}`);
    return fault(message);
  }

  destroy(): void {
    this.guest?.destroy();
  }

  async #act(name: string, body: unknown): Promise<ApiAnswer> {
    const { configuration } = this;
    switch (name) {
      case 'GET /':
      case 'GET /version':
      case 'GET /machine-config':
      case 'GET /vm/config':
        return { status: 200, body: JSON.stringify(this.#describe(name)) };
      case 'PUT /machine-config':
        configuration.setMachine(body as MachineConfig);
        break;
      case 'PATCH /machine-config':
        configuration.setMachine(body as Partial<MachineConfig>, configuration.machine);
        break;
      case 'PUT /boot-source':
        configuration.setBootSource(body as BootSource);
        break;
      case 'PUT /drives':
        configuration.setDrive(body as Drive);
        break;
      case 'PUT /network-interfaces':
        configuration.setNetworkInterface(body as NetworkInterface);
        break;
      case 'PUT /vsock':
        await this.openVsock(body as Vsock);
        break;
      case 'PUT /metrics':
        this.openMetrics((body as { readonly metrics_path: string }).metrics_path);
        break;
      case 'PUT /actions InstanceStart':
        await bootGuest(this);
        this.#state = 'Running';
        this.#warnOfResume();
        break;
      case 'PUT /actions FlushMetrics':
        this.#flushMetrics();
        break;
      case 'PUT /actions SendCtrlAltDel':
        // Keys for a guest that has no keyboard driver: ours does not obey.
        break;
      case 'PATCH /vm':
        if ((body as { readonly state: string }).state === 'Paused') this.#pause();
        else this.#resume();
        break;
      case 'PATCH /drives':
        this.#swapDrive(body as Partial<Drive> & { readonly drive_id: string });
        break;
      case 'PUT /snapshot/create':
        this.surroundings.log('fc_vcpu 0', 'MSR_IA32_TSC_DEADLINE is 0, replacing with 0x1.');
        await createSnapshot(this, body as CreateParameters, snapshotFormat(this.surroundings.environment.version));
        break;
      case 'PUT /snapshot/load':
        await loadSnapshot(this, body as LoadParameters, snapshotFormat(this.surroundings.environment.version));
        this.#state = 'Paused';
        if ((body as LoadParameters).resume_vm === true) this.#resume();
        break;
      default:
        // Devices that the guest of the fake does not look for, and the logger.
        break;
    }
    return { status: 204 };
  }

  #describe(name: string): unknown {
    const { id, environment } = this.surroundings;
    const { version } = environment;
    if (name === 'GET /version') return { firecracker_version: version };
    if (name === 'GET /') return { id, state: this.#state, vmm_version: version, app_name: 'Firecracker' };
    return name === 'GET /machine-config' ? this.configuration.machine : this.configuration.export();
  }

  /** @throws Error if the socket cannot be bound. */
  async openVsock({ guest_cid, uds_path }: Vsock, lastHostPort?: number): Promise<void> {
    const { faults, journal, exit, paths } = this.surroundings;
    const device = new VsockDevice(
      {
        faults,
        journal,
        strike: (struck) => faults.perform(struck, exit),
        beforeConnect: () => checkMemory(this),
      },
      lastHostPort,
    );
    await device.bind(paths.socket(uds_path));
    this.vsock = device;
    this.configuration.vsock = { guest_cid, uds_path };
  }

  #pause(): void {
    this.guest?.freeze();
    if (this.#state === 'Running') this.vsock?.pause();
    this.#state = 'Paused';
  }

  #resume(): void {
    if (this.#state === 'Paused') {
      this.memory?.touch();
      this.#warnOfResume();
    }
    this.guest?.thaw();
    this.vsock?.thaw();
    this.#state = 'Running';
  }

  #warnOfResume(): void {
    this.surroundings.log(
      'fc_vcpu 0',
      'Received a VcpuEvent::Resume message with immediate_exit enabled. immediate_exit was disabled before proceeding',
    );
  }

  #swapDrive({ drive_id, path_on_host }: Partial<Drive> & { readonly drive_id: string }): void {
    const index = this.configuration.drives.findIndex((one) => one.drive_id === drive_id);
    const drive = this.configuration.drives[index];
    if (drive === undefined) throw new Error(`Invalid block device ID: ${drive_id}.`);
    if (path_on_host === undefined) return;
    if (index === 0 || this.guest?.hasMountedApp === true) {
      throw new Error(`fake: the guest has mounted ${drive_id}; its file cannot be replaced any more`);
    }
    this.configuration.setDrive({ ...drive, path_on_host });
  }

  /** @throws Error if there are metrics already, or the file cannot be written. */
  openMetrics(path: string): void {
    if (this.#metricsPath !== null) throw new Error('Reinitialization of metrics not allowed.');
    const inHost = this.surroundings.paths.resolve(path);
    closeSync(openSync(inHost, 'a'));
    this.#metricsPath = inHost;
  }

  #flushMetrics(): void {
    if (this.#metricsPath === null) throw new Error('Metrics are not set up.');
    appendFileSync(this.#metricsPath, `${JSON.stringify({ utc_timestamp_ms: Date.now() })}\n`);
  }
}
