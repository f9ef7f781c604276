// A web application that knows nothing of functions: it listens on a port. What it keeps in memory is that of one VM.
const { createServer } = require('node:http');

const page = (visits) => `<!doctype html>
<meta charset="utf-8">
<title>Port</title>
<h1>Port</h1>
<p>Answer ${visits} of this process.</p>
<p id="ticks"></p>
<script>
  const source = new EventSource('ticks');
  source.onmessage = ({ data }) => (document.getElementById('ticks').textContent += data + ' ');
  source.onerror = () => source.close();
</script>
`;

let visits = 0;

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  if (pathname === '/') {
    visits += 1;
    response.setHeader('content-type', 'text/html');
    response.end(page(visits));
  } else if (pathname === '/ticks') {
    response.setHeader('content-type', 'text/event-stream');
    for (let tick = 1; tick <= 3; tick += 1) {
      response.write(`data: ${tick}\n\n`);
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    response.end();
  } else if (pathname === '/length' && request.method === 'POST') {
    let bytes = 0;
    for await (const part of request) bytes += part.length;
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ bytes }));
  } else {
    response.statusCode = 404;
    response.end('there is no such page\n');
  }
});

server.listen(process.env.PORT ?? 3000, '127.0.0.1');
