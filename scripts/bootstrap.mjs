/**
 * `node scripts/bootstrap.mjs start|test|bench|faults|soak|fuzz [args…]`, behind `npm start`, `npm test` and `npm run …`.
 *
 * Brings the project itself to where it can run: npm packages, then the build. Everything else is set up by the built
 * `dist/bin/setup.js`. Uses Node's built-in modules only, as nothing else is there on a fresh checkout.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const LOCK_FILE = join(ROOT, 'package-lock.json');
const MODULES = join(ROOT, 'node_modules');
/** Digest of the lock file that node_modules was installed from. */
const MODULES_STAMP = join(MODULES, '.snapfaas-installed');
/** Digest of the sources that dist was built from. */
const BUILD_STAMP = join(ROOT, 'dist', '.built-from');
const SETUP = join(ROOT, 'dist', 'bin', 'setup.js');
/** Folders that are compiled. */
const SOURCES = ['src', join('src', 'ui'), join('guest', 'runtimes', 'node')];
const SOURCE_FILE = /\.([cm]?tsx?|json|html|css|svg)$/;
const LAST_LINES = 30;

checkNode();
try {
  await installModules();
  await build();
} catch (error) {
  process.stderr.write(`\n${error.message}\n`);
  process.exit(1);
}
process.argv = [process.execPath, SETUP, ...process.argv.slice(2)];
await import(pathToFileURL(SETUP).href);

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  process.stderr.write(
    `SnapFaaS needs Node 22 or 24, or at least 20.19; this is ${process.versions.node}: https://nodejs.org\n`,
  );
  process.exit(1);
}

async function installModules() {
  const lock = readFileSync(LOCK_FILE, 'utf8');
  const wanted = digest([lock]);
  if (readStamp(MODULES_STAMP) === wanted) return;
  if (!isInstalled(JSON.parse(lock))) {
    const npm = process.env.npm_execpath;
    const command = npm?.endsWith('.js') ? [process.execPath, npm] : ['npm'];
    // Development packages hold the compiler, so they are wanted even where NODE_ENV says production.
    await run('installing npm packages', [...command, 'ci', '--include=dev', '--no-audit', '--no-fund']);
  }
  writeFileSync(MODULES_STAMP, wanted);
}

/** Whether somebody has installed the very packages of the lock file already, by `npm ci` or `npm install`. */
function isInstalled(lock) {
  let installed;
  try {
    installed = JSON.parse(readFileSync(join(MODULES, '.package-lock.json'), 'utf8')).packages;
  } catch {
    return false;
  }
  // Optional ones, such as builds for other platforms, may be absent.
  return Object.entries(lock.packages).every(
    ([path, entry]) => path === '' || entry.optional || entry.link || installed[path]?.integrity === entry.integrity,
  );
}

async function build() {
  const files = [...new Set(SOURCES.flatMap((folder) => listFiles(folder)))].sort();
  const extra = ['tsconfig.base.json', 'package-lock.json', join('scripts', 'build-page.mjs')];
  const wanted = digest([...files, ...extra].map((path) => `${path}\0${readFileSync(join(ROOT, path), 'utf8')}`));
  if (readStamp(BUILD_STAMP) === wanted && existsSync(SETUP)) return;
  rmSync(BUILD_STAMP, { force: true });
  const compiler = join(MODULES, 'typescript', 'bin', 'tsc');
  await run('building', [process.execPath, compiler, '-b', ...SOURCES]);
  await run('building the live page', [process.execPath, join(ROOT, 'scripts', 'build-page.mjs')]);
  writeFileSync(BUILD_STAMP, wanted);
}

function listFiles(folder) {
  const names = readdirSync(join(ROOT, folder), { recursive: true });
  return names.filter((name) => SOURCE_FILE.test(name)).map((name) => join(folder, name));
}

function digest(texts) {
  const hash = createHash('sha256');
  for (const text of texts) hash.update(`${text.length}\0${text}`);
  return hash.digest('hex');
}

function readStamp(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** Runs a step; its output is shown only if it fails. */
async function run(name, [program, ...argv]) {
  const started = performance.now();
  process.stderr.write(`${name} …\n`);
  const child = spawn(program, argv, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
  const lines = [];
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => lines.push(text));
  const status = await new Promise((resolve) => {
    child.once('error', (error) => lines.push(error.message));
    child.once('close', (code, signal) => resolve(signal ?? code));
  });
  if (status !== 0) {
    const last = lines.join('').trimEnd().split('\n').slice(-LAST_LINES).join('\n  ');
    throw new Error(`${name} failed (${status}); the last lines of "${[program, ...argv].join(' ')}":\n  ${last}`);
  }
  process.stderr.write(`${name}: done (${((performance.now() - started) / 1000).toFixed(1)} s)\n`);
}
