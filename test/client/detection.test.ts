/** What a function's files tell of it. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { awsRuntime, checkClasses, detectHandler, detectLanguage, detectName } from '../../src/client/detection.ts';
import { readSettings } from '../../src/client/function-settings.ts';

const JS = 'exports.handler = async () => 1;';
const PY = 'def handler(event, context):\n    pass\n';

/** What is found of files, or the message of the error. */
function found(files: Readonly<Record<string, string>>): string {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-test-'));
  try {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(directory, name)), { recursive: true });
      writeFileSync(join(directory, name), text);
    }
    const names = new Set(Object.keys(files));
    const language = detectLanguage(directory, names);
    return `${language} ${detectHandler(directory, language, names)}`;
  } catch (error) {
    return error instanceof Error
      ? error.message.replaceAll(`${directory}/`, '').replaceAll(directory, 'DIR')
      : 'no error';
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const CASES: readonly (readonly [Readonly<Record<string, string>>, string | RegExp])[] = [
  [{ 'index.js': JS }, 'nodejs index.handler'],
  [{ 'index.mjs': 'export const handler = () => 1;' }, 'nodejs index.handler'],
  [
    { 'src/index.ts': 'export async function handler(): Promise<void> {}' },
    /has no file of Node or Python|nodejs src\/index\.handler/,
  ],
  [{ 'package.json': '{}', 'src/index.ts': 'export async function handler() {}' }, 'nodejs src/index.handler'],
  [{ 'package.json': '{"main": "./lib/start.js"}', 'lib/start.js': JS, 'index.js': JS }, 'nodejs lib/start.handler'],
  [{ 'index.js': 'module.exports = { handler };' }, 'nodejs index.handler'],
  [{ 'app.mjs': 'async function main() {}\nexport { main };' }, 'nodejs app.main'],
  [{ 'workload.js': 'exports.handle = async () => 1;' }, 'nodejs workload.handle'],
  [
    { 'lambda_function.py': 'def lambda_handler(event, context):\n    pass\n' },
    'python3 lambda_function.lambda_handler',
  ],
  [{ 'app.py': PY, 'requirements.txt': '' }, 'python3 app.handler'],
  [{ 'app.py': 'handler = make()\n', 'static/page.js': '' }, 'python3 app.handler'],
  [{ 'app.py': 'def handler(event: dict, context: object) -> None:\n    pass\n' }, 'python3 app.handler'],
  [
    { 'workload.py': 'def handle(request):\n    pass\n' },
    /workload\.py: handle\(request\) is called with two arguments; write "def handle\(event, context\):"/,
  ],
  [{ 'app.py': PY, 'index.js': JS }, /has files of Node and of Python; say which language it is: --runtime/],
  [{ 'lib/app.jar': '' }, /^the handler is not known; name it: --handler package\.Class::method/],
  [{ 'pom.xml': '' }, /^the handler is not known; name it: --handler package\.Class::method/],
  [{ 'app.py': PY, 'lib/tool.jar': '' }, 'python3 app.handler'],
  [{ 'package.json': '{}', 'index.js': JS, 'pom.xml': '' }, 'nodejs index.handler'],
  [{ 'README.md': '' }, /has no file of Node or Python at its top/],
  [
    { 'index.js': 'console.log(1)' },
    /index\.js in DIR defines no handler or lambdaHandler; name it: --handler FILE\.FUNCTION/,
  ],
  [{ 'package.json': '{', 'index.js': JS }, /package\.json is not JSON/],
  [{ 'package.json': '{}', 'tool.js': JS }, /no handler is found in DIR, such as index\.js for Node/],
];

test('language and handler are found by the files, or it is said what to write', () => {
  for (const [files, wanted] of CASES) {
    const seen = found(files);
    if (typeof wanted === 'string') assert.equal(seen, wanted, JSON.stringify(files));
    else assert.match(seen, wanted, JSON.stringify(files));
  }
});

test('Java needs something to run', () => {
  for (const path of ['example/Hello.class', 'lib/app.jar']) checkClasses('DIR', new Set([path]));
  for (const path of ['src/Hello.java', 'target/Hello.class', 'app.jar']) {
    assert.throws(
      () => checkClasses('DIR', new Set(['pom.xml', path])),
      /^ClientError: DIR has no classes, and no lib\/\*\.jar with some; build it, and deploy its archive/,
      path,
    );
  }
});

test('a runtime is one of AWS, or a language', () => {
  assert.deepEqual(
    ['nodejs', 'node', 'nodejs22.x', 'python', 'python3', 'python3.12', 'java', 'java21'].map(awsRuntime),
    ['nodejs24.x', 'nodejs24.x', 'nodejs22.x', 'python3.11', 'python3.11', 'python3.12', 'java17', 'java21'],
  );
  assert.throws(
    () => awsRuntime('ruby3.4'),
    /there is no runtime "ruby3\.4"; name one such as nodejs24\.x or python3\.11/,
  );
});

test("a function is named as its directory, unless that is no function's name", () => {
  assert.equal(detectName('/a/shop-1/'), 'shop-1');
  assert.equal(detectName('shop.zip'), 'shop');
  assert.equal(detectName('target/shop.jar'), 'shop');
  assert.throws(() => detectName('/a/b c'), /"b c" is no name for a function.*--name NAME/);
});

test('each mistake in function.yaml is told with its place', () => {
  const directory = mkdtempSync(join(tmpdir(), 'snapfaas-test-'));
  const path = join(directory, 'function.yaml');
  const problemsOf = (text: string): string => {
    writeFileSync(path, text);
    try {
      return JSON.stringify(readSettings(directory));
    } catch (error) {
      return error instanceof Error ? error.message.replaceAll(path, 'F') : 'no error';
    }
  };
  assert.equal(problemsOf(''), '{}');
  assert.equal(problemsOf('name: a\nmemory: 256\n'), '{"name":"a","memory":256}');
  assert.equal(problemsOf('name: a\nmemroy: 256\n'), 'F:2:1: unknown key `memroy`; did you mean `memory`?');
  assert.match(problemsOf('memory: 64\n'), /^F:1:9: `memory` must be a whole number of MB from 128/);
  assert.match(
    problemsOf('environment:\n  PORT: 80\n'),
    /^F:2:9: `environment.PORT` must be a string, not the number 80; quote it: "80"$/,
  );
  const twice = 'schedules: [{name: a, expression: rate(1 day)}, {name: a, expression: rate(1 day)}]\n';
  assert.equal(problemsOf(twice), 'F:1:12: `schedules` has two schedules of one name; give one another name');
  assert.match(
    problemsOf('schedules: [{name: a}]\n'),
    /^F:1:13: `schedules\.0\.expression` is missing; it must be a sch/,
  );
  assert.match(problemsOf('a: [\n'), /^F:\d+:\d+: not valid YAML/);
  rmSync(directory, { recursive: true });
});
