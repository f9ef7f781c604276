/**
 * Runs in the live page. What a function prints, as it prints it. It is text, whatever it is: tags are characters, and so are the escapes
 * of terminals.
 */
import type { JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { outputOf, type OutputEvent } from './api.ts';
import { clock } from './format.ts';
import { useAsked } from './invocations.tsx';

const BEFORE_MS = 10 * 60_000;
const LOOK_MS = 1000;
const MOST_LINES = 500;
/** Of one line that is shown. */
const MOST_CHARACTERS = 2000;
/** So far from the end, in pixels, is still at the end. */
const NEAR_PX = 8;

/** @param seen another number when it has run. */
export function Output({ name, seen }: { readonly name: string; readonly seen: number }): JSX.Element {
  const [events, setEvents] = useState<readonly OutputEvent[]>([]);
  const [look, setLook] = useState(0);
  const [isFollowing, setFollowing] = useState(true);
  const place = useRef<HTMLDivElement>(null);
  /** Whoever has scrolled back reads there. */
  const isAtEnd = useRef(true);
  /** The last line when it was last told where the reader is. */
  const lastLine = useRef<Element | null>(null);
  const followToken = useRef<string | null>(null);
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) setLook((before) => before + 1);
    }, LOOK_MS);
    return () => clearInterval(timer);
  }, []);
  useAsked(isFollowing ? seen + look : 0, async (signal) => {
    const from = followToken.current ?? Date.now() - BEFORE_MS;
    const page = await outputOf(name, from, MOST_LINES, signal);
    if (signal.aborted) return;
    followToken.current = page.followToken ?? followToken.current;
    if (page.events.length > 0) setEvents((before) => [...before, ...page.events].slice(-MOST_LINES));
  });
  // Before the browser tells that it has scrolled by itself, as it does when lines go at the top.
  useLayoutEffect(() => {
    const box = place.current;
    if (box !== null && isFollowing && isAtEnd.current) box.scrollTop = box.scrollHeight;
  }, [events]);
  return (
    <section class="card" aria-labelledby="output">
      <header>
        <h2 id="output">Output</h2>
        <label>
          <input
            type="checkbox"
            checked={isFollowing}
            onChange={({ currentTarget }) => setFollowing(currentTarget.checked)}
          />{' '}
          Follow
        </label>
      </header>
      <div
        class="output"
        ref={place}
        tabIndex={0}
        role="log"
        aria-live="off"
        aria-labelledby="output"
        onScroll={({ currentTarget: box }) => {
          // Lines may come between a scroll to the end and its event: the end is then where it was before them.
          const belowPx = box.scrollHeight - box.scrollTop - box.clientHeight;
          isAtEnd.current = belowPx - heightAfter(lastLine.current, box) < NEAR_PX;
          lastLine.current = box.lastElementChild;
          if (isFollowing && isAtEnd.current) box.scrollTop = box.scrollHeight;
        }}
      >
        {events.length === 0 ? (
          <p class="quiet">Nothing in the last ten minutes.</p>
        ) : (
          events.map(({ eventId, timestamp, message }) => (
            <div key={eventId} class={/^(?:START|END|REPORT) RequestId: /.test(message) ? 'quiet' : ''}>
              <span class="quiet">{clock(timestamp)}</span> {shown(message)}
            </div>
          ))
        )}
      </div>
    </section>
  );
}

/** In pixels: what came into the box after this line; 0 if the line is there no more. */
function heightAfter(line: Element | null, box: Element): number {
  if (line?.parentElement !== box || box.lastElementChild === null) return 0;
  return box.lastElementChild.getBoundingClientRect().bottom - line.getBoundingClientRect().bottom;
}

/** Control characters as pictures of them; tabs stay. */
export function shown(text: string): string {
  const cut = text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}…` : text;
  return cut.replaceAll(/[\p{Cc}\p{Bidi_Control}]/gu, (one) => {
    if (one === '\t' || one === '\n') return one;
    const code = one.codePointAt(0) ?? 0;
    return code < 0x20 ? String.fromCodePoint(0x2400 + code) : '\u{fffd}';
  });
}
