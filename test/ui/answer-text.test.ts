import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answerText } from '../../src/ui/answer-text.ts';

test('answers: JSON is indented, and all else stays as it is', () => {
  assert.deepEqual(answerText('{"a":[1,"x\\ny"]}', false).text, '{\n  "a": [\n    1,\n    "x\\ny"\n  ]\n}');
  for (const text of ['', 'plain', '{"a":', '12345678901234567890']) assert.equal(answerText(text, false).text, text);
});

test('answers: the trace of a failure has lines, as Node and as Python tell it', () => {
  const node = {
    errorType: 'TypeError',
    errorMessage: 'no such',
    trace: ['TypeError: no such', '    at f (a.js:1:2)'],
  };
  assert.deepEqual(answerText(JSON.stringify(node), true), {
    text: 'TypeError: no such',
    trace: ['TypeError: no such', '    at f (a.js:1:2)'],
  });
  const python = { errorMessage: 'x', errorType: 'KeyError', stackTrace: ['  File "a.py", line 1\n    f()\n'] };
  assert.deepEqual(answerText(JSON.stringify(python), true).trace, ['  File "a.py", line 1', '    f()']);
  const other = { errorMessage: 'x', errorType: 'E' };
  assert.deepEqual(answerText(JSON.stringify(other), true).trace, null);
  assert.match(answerText(JSON.stringify(other), true).text, /^\{\n {2}"errorMessage": "x"/);
  // A function that succeeds may answer the same.
  assert.equal(answerText(JSON.stringify(node), false).trace, null);
});
