/** Sends its answer word by word, as a model would. `awslambda` is there without an import. */
import { setTimeout as sleep } from 'node:timers/promises';

export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const words = (event.text ?? 'Nothing is said that was not said before').split(' ');
  for (const word of words) {
    stream.write(`${word} `);
    await sleep(200);
  }
  stream.end();
});
