// An application in Express as it runs anywhere: it listens on a port. What is on the list is in the memory of one VM.
const express = require('express');

const app = express();
app.disable('x-powered-by');
app.use(express.json());
app.use(express.urlencoded({ extended: false }));

const tasks = [];
const escaped = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

app.get('/', (request, response) => {
  const items = tasks.map(({ title }) => `<li>${escaped(title)}</li>`).join('');
  response.type('html').send(`<!doctype html>
<meta charset="utf-8">
<title>Tasks</title>
<h1>Tasks</h1>
<ul>${items}</ul>
<form method="post" action="tasks"><input name="title" autofocus><button>Add</button></form>
`);
});

app.get('/tasks', (request, response) => response.json(tasks));

app.post('/tasks', (request, response) => {
  const title = String(request.body?.title ?? '').trim();
  if (title === '') return response.status(400).json({ error: 'a task needs a title' });
  tasks.push({ id: tasks.length + 1, title });
  // A form is led back to its page, a program is answered.
  if (request.is('urlencoded')) return response.redirect(303, './');
  response.status(201).location(`tasks/${tasks.length}`).json(tasks.at(-1));
});

app.get('/tasks/:id', (request, response) => {
  const task = tasks[Number(request.params.id) - 1];
  if (task === undefined) return response.status(404).json({ error: 'there is no such task' });
  response.json(task);
});

app.listen(process.env.PORT ?? 3000, '127.0.0.1');
