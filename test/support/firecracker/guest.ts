/**
 * Runs in the fake Firecracker. The guest: a language runtime as a process of the host, init's part played by
 * `guest-init.ts`, and the two vsock ports on which the guest listens.
 */
import type { FrameHeader } from '../../../src/protocol/frame.ts';
import { CONTROL_VSOCK_PORT, FUNCTION_VSOCK_PORT } from '../../../src/protocol/guest.ts';
import { extractImage, isBlank, readImageFile } from './disk-image.ts';
import { FunctionPort } from './function-port.ts';
import { GuestInit, type GuestRecord } from './guest-init.ts';
import { RuntimeProcess, type GuestLanguage } from './runtime-process.ts';
import type { VsockConnection } from './vsock-connection.ts';
import type { GuestPorts } from './vsock.ts';

/** Names the runtime's command in a root file system, one word per line. */
const COMMAND_FILE = '/etc/snapfaas/runtime';
/** Init's last words are on their way before the machine stops. */
const LAST_WORDS_MS = 200;

/** What a snapshot's memory says of the guest. */
export interface SavedGuest {
  readonly language: GuestLanguage;
  readonly record: GuestRecord;
}

export interface GuestSurroundings {
  readonly home: string;
  /** The second disk's image; null: there is none. */
  readonly appImage: () => string | null;
  /** Called before a request reaches the runtime. */
  readonly onInvoke: (number: number) => void;
  readonly onRuntimeExited: (exit: FrameHeader) => void;
  /** A line on the serial console. */
  readonly onConsole: (line: string) => void;
  /** The guest resets the machine, which ends the VMM. */
  readonly onReset: () => void;
}

export class Guest implements GuestPorts {
  readonly #language: GuestLanguage;
  readonly #runtime: RuntimeProcess;
  readonly #init: GuestInit;
  readonly #functionPort: FunctionPort;

  private constructor(language: GuestLanguage, surroundings: GuestSurroundings, isReplaying: boolean) {
    const { home, appImage, onConsole, onInvoke, onRuntimeExited, onReset } = surroundings;
    this.#language = language;
    this.#runtime = new RuntimeProcess(language, home);
    this.#functionPort = new FunctionPort(this.#runtime.functionChannel, onInvoke);
    this.#init = new GuestInit(
      this.#runtime,
      {
        async mountApp(directory) {
          const image = appImage();
          if (image !== null && !isBlank(image)) await extractImage(image, directory);
        },
        onFatal(reason) {
          onConsole(`snapfaas-init: ${reason}`);
          setTimeout(onReset, LAST_WORDS_MS);
        },
        onRuntimeExited: (exit) => {
          this.#functionPort.discard();
          onRuntimeExited(exit);
        },
      },
      { isReplaying },
    );
  }

  /** @throws Error if the root file system names no runtime that the fake has. */
  static async boot(rootImage: string, surroundings: GuestSurroundings): Promise<Guest> {
    const command = await readImageFile(rootImage, COMMAND_FILE);
    const program = command.split('\n')[0] ?? '';
    if (program.endsWith('/python3')) return new Guest('python3', surroundings, false);
    if (program.endsWith('/node')) return new Guest('nodejs', surroundings, false);
    throw new Error(`${COMMAND_FILE} names ${JSON.stringify(program)}; the fake has python3 and node`);
  }

  /** Brings a new runtime to where a snapshot was taken. @throws Error if it does not come there. */
  static async restore(saved: SavedGuest, surroundings: GuestSurroundings): Promise<Guest> {
    const guest = new Guest(saved.language, surroundings, true);
    try {
      await guest.#init.replay(saved.record);
    } catch (error) {
      guest.destroy();
      throw error;
    }
    return guest;
  }

  /** What a snapshot keeps of it. @throws Error if something is under way that the fake could not restore. */
  save(): SavedGuest {
    const unrest = this.#functionPort.isBusy ? 'it has not answered a request yet' : this.#init.unrest;
    if (unrest !== null) throw new Error(`the fake cannot take a snapshot of this guest: ${unrest}`);
    if (this.#functionPort.invocations > 0) {
      throw new Error('the fake cannot take a snapshot of this guest: its function has been invoked');
    }
    return { language: this.#language, record: this.#init.record };
  }

  /** Whether the second disk has been looked at. */
  get hasMountedApp(): boolean {
    return this.#init.record.load !== null;
  }

  listener(port: number): ((connection: VsockConnection) => void) | null {
    switch (port) {
      case FUNCTION_VSOCK_PORT:
        return this.#functionPort.isListening ? (connection) => this.#functionPort.connect(connection) : null;
      case CONTROL_VSOCK_PORT:
        return (connection) => this.#init.connect(connection);
      default:
        return null;
    }
  }

  freeze(): void {
    this.#runtime.freeze();
  }

  thaw(): void {
    this.#runtime.thaw();
  }

  destroy(): void {
    this.#runtime.destroy();
  }
}
