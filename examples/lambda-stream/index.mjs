// Writes a text word by word, as it is made: each word is drawn by the two before it (a Markov chain over `source.txt`).
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const MAX_WORDS = 10_000;
const words = readFileSync(new URL('source.txt', import.meta.url), 'utf8')
  .split(/\s+/)
  .filter(Boolean);
const followers = new Map();
for (let at = 2; at < words.length; at += 1) {
  const key = `${words[at - 2]} ${words[at - 1]}`;
  if (!followers.has(key)) followers.set(key, []);
  followers.get(key).push(words[at]);
}

export const handler = awslambda.streamifyResponse(async (event, output, context) => {
  const count = Math.min(event.words ?? 50, MAX_WORDS);
  output.setContentType('text/plain; charset=utf-8');
  for (const word of text(count, event.seed ?? 1)) {
    if (!output.write(word)) await new Promise((resolve) => output.once('drain', resolve));
    if (event.pauseMs) await sleep(event.pauseMs);
  }
  console.log(`${count} words, ${context.getRemainingTimeInMillis()} ms left`);
  output.end();
});

function* text(count, seed) {
  const random = randomNumbers(seed);
  let [first, second] = words;
  yield `${first} ${second}`;
  for (let written = 2; written < count; written += 1) {
    const next = followers.get(`${first} ${second}`) ?? words;
    [first, second] = [second, next[Math.floor(random() * next.length)]];
    yield ` ${second}`;
  }
  yield '\n';
}

/** Mulberry32: the same text for the same seed. */
function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
