/** Runs in the commands of people. What a function's files tell of it: its language, and where its handler is. */
import { readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { PROVIDED_PROGRAM, RUNTIMES, type RuntimeName } from '../protocol/runtimes.ts';
import { badInput } from './client-error.ts';
import { FUNCTION_NAME, SETTINGS_FILE } from './function-settings.ts';

/** The runtimes that are meant where only the language is said. */
const AWS_RUNTIMES: Readonly<Record<RuntimeName, string>> = {
  nodejs: 'nodejs24.x',
  python3: 'python3.11',
  java: 'java17',
  provided: 'provided.al2023',
};

/** Files that handlers are in by custom, the most telling first. */
const MODULES: Readonly<Record<RuntimeName, readonly string[]>> = {
  nodejs: ['index', 'handler', 'app', 'main', 'lambda', 'src/index', 'src/handler', 'src/app', 'src/main', 'workload'],
  python3: [
    'lambda_function',
    'app',
    'handler',
    'main',
    'index',
    'function',
    'src/app',
    'src/handler',
    'src/main',
    'workload',
  ],
  java: [],
  provided: [],
};
/** What handlers are called by custom. */
const EXPORTS: Readonly<Record<RuntimeName, readonly string[]>> = {
  nodejs: ['handler', 'lambdaHandler', 'main', 'handle'],
  python3: ['lambda_handler', 'handler', 'main', 'handle'],
  java: [],
  provided: [],
};

/** Of the files, all of which are paths from the function's directory. */
export type Files = ReadonlySet<string>;

/** @throws ClientError if it is none that there is. */
export function languageOf(runtime: string): RuntimeName {
  if (/^node(js)?(\d+(\.x)?)?$/.test(runtime)) return 'nodejs';
  if (/^python(\d+(\.\d+)?)?$/.test(runtime)) return 'python3';
  if (runtime === 'java' || RUNTIMES.java.awsNames.test(runtime)) return 'java';
  if (RUNTIMES.provided.awsNames.test(runtime)) return 'provided';
  return badInput(`there is no runtime "${runtime}"; name one such as ${Object.values(AWS_RUNTIMES).join(' or ')}`);
}

/** As AWS names it, where that was not done. */
export function awsRuntime(runtime: string): string {
  const language = languageOf(runtime);
  return RUNTIMES[language].awsNames.test(runtime) ? runtime : AWS_RUNTIMES[language];
}

const JAVA_PROJECTS = ['pom.xml', 'build.gradle', 'build.gradle.kts'];

/** Where Java looks for them: below the directory, and in the archives of `lib`. */
function hasClasses(files: Files): boolean {
  return [...files].some(
    (path) => /^lib\/[^/]+\.jar$/.test(path) || (path.endsWith('.class') && !path.startsWith('target/')),
  );
}

/** @throws ClientError if there is nothing that Java would run. */
export function checkClasses(directory: string, files: Files): void {
  if (hasClasses(files)) return;
  const how = 'build it, and deploy its archive (snapctr deploy target/NAME.jar) or a directory with that in lib';
  badInput(`${directory} has no classes, and no lib/*.jar with some; ${how}`);
}

/** @throws ClientError if the files do not tell. */
export function detectLanguage(directory: string, files: Files): RuntimeName {
  if (files.has(PROVIDED_PROGRAM)) return 'provided';
  const isNode = files.has('package.json');
  const isPython = ['requirements.txt', 'pyproject.toml', 'setup.py'].some((name) => files.has(name));
  if (isNode !== isPython) return isNode ? 'nodejs' : 'python3';
  const hasHandler = (name: RuntimeName): boolean =>
    MODULES[name].some((module) => fileOf(module, name, files) !== null);
  const [node, python] = [hasHandler('nodejs'), hasHandler('python3')];
  if (node !== python) return node ? 'nodejs' : 'python3';
  // Last: programs of other languages bring archives of Java as well.
  if (hasClasses(files) || JAVA_PROJECTS.some((name) => files.has(name))) return 'java';
  const ends = (ending: RegExp): boolean => [...files].some((path) => ending.test(path) && !path.includes('/'));
  const [anyNode, anyPython] = [ends(/\.[mc]?[jt]s$/), ends(/\.py$/)];
  if (anyNode !== anyPython) return anyNode ? 'nodejs' : 'python3';
  const why = anyNode ? 'has files of Node and of Python' : 'has no file of Node or Python at its top';
  return badInput(`${directory} ${why}; say which language it is: --runtime nodejs or --runtime python`);
}

/** @returns the file of a module, null if there is none. */
export function fileOf(module: string, language: RuntimeName, files: Files): string | null {
  return RUNTIMES[language].moduleEndings.map((ending) => module + ending).find((path) => files.has(path)) ?? null;
}

/** @returns the file that a handler names, null if it is not there. */
export function handlerFile(handler: string, language: RuntimeName, files: Files): string | null {
  const module = RUNTIMES[language].moduleOf(handler);
  return module === null || module === '' ? null : fileOf(module, language, files);
}

/** @throws ClientError if the files do not tell; it says what was looked for. */
export function detectHandler(directory: string, language: RuntimeName, files: Files): string {
  const { defaultHandler } = RUNTIMES[language];
  if (defaultHandler !== null && handlerFile(defaultHandler, language, files) !== null) return defaultHandler;
  const told: string[] = [];
  for (const module of [...mainModule(directory, language, files), ...MODULES[language]]) {
    const path = fileOf(module, language, files);
    if (path === null) continue;
    const text = readFileSync(join(directory, path), 'utf8');
    const name = EXPORTS[language].find((one) => definition(one, language).test(text));
    if (name !== undefined) {
      refuseOneParameter(join(directory, path), name, language, text);
      return `${module}.${name}`;
    }
    told.push(path);
  }
  if (language === 'provided') {
    badInput(`${directory} has no ${PROVIDED_PROGRAM}; build the program that is to be started under this name`);
  }
  if (language === 'java') {
    badInput(`the handler is not known; name it: --handler package.Class::method, or handler: in ${SETTINGS_FILE}`);
  }
  const { title, moduleEndings } = RUNTIMES[language];
  const [first = ''] = MODULES[language];
  const why =
    told.length === 0
      ? `no handler is found in ${directory}, such as ${first}${moduleEndings[0] ?? ''} for ${title}`
      : `${told.join(', ')} in ${directory} ${told.length === 1 ? 'defines' : 'define'} no ${EXPORTS[language].slice(0, 2).join(' or ')}`;
  return badInput(`${why}; name it: --handler FILE.FUNCTION, or handler: in ${SETTINGS_FILE}`);
}

/** What `main` of package.json names. */
function mainModule(directory: string, language: RuntimeName, files: Files): readonly string[] {
  if (language !== 'nodejs' || !files.has('package.json')) return [];
  try {
    const { main } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as { readonly main?: unknown };
    return typeof main === 'string' ? [main.replace(/^\.\//, '').replace(/\.[mc]?[jt]s$/, '')] : [];
  } catch (error) {
    return badInput(`${join(directory, 'package.json')} is not JSON; correct it`, error);
  }
}

/** Something that looks like it: Node and Python find out whether it is. */
function definition(name: string, language: RuntimeName): RegExp {
  return language === 'python3'
    ? new RegExp(`^(?:async\\s+)?def\\s+${name}\\s*\\(|^${name}\\s*=`, 'm')
    : new RegExp(
        `\\bexports\\.${name}\\s*=|\\bexport\\s+(?:async\\s+)?(?:const|let|var|function\\*?)\\s+${name}\\b` +
          `|\\bexport\\s*\\{[^}]*\\b${name}\\b[^}]*\\}|\\bmodule\\.exports\\s*=\\s*\\{[^}]*\\b${name}\\b`,
      );
}

/** A handler with one parameter works in functions of the YAML files, which have no `handler`; here there are always two. */
function refuseOneParameter(path: string, name: string, language: RuntimeName, text: string): void {
  if (language !== 'python3') return;
  const [, parameters = ''] = new RegExp(`^def\\s+${name}\\s*\\(([^)]*)\\)`, 'm').exec(text) ?? [];
  if (!/^\s*\w+\s*(:[^,]*)?,?\s*$/.test(parameters)) return;
  badInput(`${path}: ${name}(${parameters.trim()}) is called with two arguments; write "def ${name}(event, context):"`);
}

/** @throws ClientError if the directory's name is none for a function. */
export function detectName(place: string): string {
  const name = basename(resolve(place)).replace(/\.(zip|jar)$/, '');
  if (FUNCTION_NAME.test(name)) return name;
  return badInput(
    `"${name}" is no name for a function, which has 1 to 64 letters, digits, - or _; give one: --name NAME`,
  );
}
