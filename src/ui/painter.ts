/**
 * Runs in the live page. Draws what has changed, as often as a small share of a core allows: ten times a second where there is little, two
 * or three times where a thousand VMs are on the screen.
 *
 * ```
 *   change ──▶ dirty ──next frame, but not before `nextAt`──▶ drawn, styled, laid out, painted ──▶ nextAt: so many times that later
 * ```
 */

/** Between two drawings lie so many times what one costs. */
const PAUSE_FACTOR = 25;
/** A machine that is busy with others makes drawings seem long, in ms. */
const LONGEST_PAUSE_MS = 500;

class Painter {
  readonly #dirty = new Set<() => void>();
  #isWaiting = false;
  #nextAt = 0;

  /** Has `draw` called once, with others that want to. */
  request(draw: () => void): void {
    this.#dirty.add(draw);
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    const pauseMs = this.#nextAt - performance.now();
    if (pauseMs <= 0) requestAnimationFrame(() => this.#draw());
    else setTimeout(() => requestAnimationFrame(() => this.#draw()), pauseMs);
  }

  forget(draw: () => void): void {
    this.#dirty.delete(draw);
  }

  #draw(): void {
    const begun = performance.now();
    const draws = [...this.#dirty];
    this.#dirty.clear();
    for (const draw of draws) draw();
    // The next task comes when the frame is painted.
    const painted = new MessageChannel();
    painted.port1.onmessage = () => {
      painted.port1.close();
      const costMs = performance.now() - begun;
      this.#nextAt = begun + Math.min(LONGEST_PAUSE_MS, costMs * PAUSE_FACTOR);
      this.#isWaiting = false;
      const [more] = this.#dirty;
      if (more !== undefined) this.request(more);
    };
    painted.port2.postMessage(null);
  }
}

export const painter = new Painter();
