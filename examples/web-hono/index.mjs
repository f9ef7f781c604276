// A guest book in Hono, as it would run in front of any server; the last line alone is for AWS Lambda and function URLs.
import { Hono } from 'hono';
import { streamHandle } from 'hono/aws-lambda';
import { getCookie, setCookie } from 'hono/cookie';
import { html } from 'hono/html';
import { streamSSE } from 'hono/streaming';

const MAX_ENTRIES = 100;
const MAX_CHARACTERS = 200;
const entries = [];
const app = new Hono();

app.get('/', (c) => {
  const name = getCookie(c, 'name') ?? '';
  return c.html(
    html`<!doctype html>
      <title>Guest book</title>
      <h1>Guest book</h1>
      <form method="post" action="entries">
        <input name="name" value="${name}" /><input name="text" /><button>Sign</button>
      </form>
      <ul>
        ${entries.map((entry) => html`<li>${entry.name}: ${entry.text}</li>`)}
      </ul>
      <p id="clock"></p>
      <script>
        const source = new EventSource('clock');
        source.onmessage = ({ data }) => (document.getElementById('clock').textContent = data);
        source.addEventListener('end', () => source.close());
      </script>`,
  );
});

app.get('/entries', (c) => c.json(entries));

app.post('/entries', async (c) => {
  const { name, text } = await c.req.parseBody();
  if (typeof name !== 'string' || typeof text !== 'string') return c.text('a name and a text are needed', 400);
  entries.push({ name: name.slice(0, MAX_CHARACTERS), text: text.slice(0, MAX_CHARACTERS) });
  if (entries.length > MAX_ENTRIES) entries.shift();
  setCookie(c, 'name', name.slice(0, MAX_CHARACTERS), { httpOnly: true });
  return c.redirect('./', 303);
});

app.get('/clock', (c) =>
  streamSSE(c, async (stream) => {
    for (let tick = 3; tick > 0; tick -= 1) {
      await stream.writeSSE({ data: String(tick) });
      await stream.sleep(200);
    }
    await stream.writeSSE({ event: 'end', data: 'done' });
  }),
);

export const handler = streamHandle(app);
