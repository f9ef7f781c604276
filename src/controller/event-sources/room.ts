/** Runs in snapctr. What messages of all event sources may take of memory together, from their arrival to their acknowledgement. */

const MIB = 1024 * 1024;
/** Once they take so much, no more are asked for. */
export const MAX_HELD_BYTES = 128 * MIB;
const SMALLEST_BATCH_BYTES = MIB;

export class Room {
  readonly #onRoom: () => void;
  readonly #sources: () => number;
  #heldBytes = 0;

  /** @param sources that may fill a batch at the same time. */
  constructor(sources: () => number, onRoom: () => void) {
    this.#sources = sources;
    this.#onRoom = onRoom;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  get hasRoom(): boolean {
    return this.#heldBytes < MAX_HELD_BYTES;
  }

  /** All of them together take no more than once more the whole. */
  get bytesOfBatch(): number {
    return Math.max(SMALLEST_BATCH_BYTES, Math.floor(MAX_HELD_BYTES / Math.max(1, this.#sources())));
  }

  take(bytes: number): void {
    this.#heldBytes += bytes;
  }

  give(bytes: number): void {
    const before = this.#heldBytes;
    this.#heldBytes -= bytes;
    if (before >= MAX_HELD_BYTES && this.#heldBytes < MAX_HELD_BYTES) this.#onRoom();
  }
}
