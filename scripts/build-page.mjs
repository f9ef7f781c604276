/**
 * `node scripts/build-page.mjs`, behind `npm run build`. Bundles the live page, `src/ui/`, into `dist/ui/page/`: index.html, and a script
 * and a style whose names carry digests of their content. The directory takes the place of the one before as a whole.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const SOURCE = join(ROOT, 'src', 'ui');
const PAGE = join(ROOT, 'dist', 'ui', 'page');

const made = `${PAGE}.${process.pid}`;
try {
  const { outputFiles } = await build({
    entryPoints: [join(SOURCE, 'main.tsx'), join(SOURCE, 'style.css')],
    outdir: made,
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    target: ['es2022', 'chrome111', 'firefox113', 'safari16.4'],
    jsx: 'automatic',
    jsxImportSource: 'preact',
    legalComments: 'none',
  });
  await mkdir(made, { recursive: true });
  let html = await readFile(join(SOURCE, 'index.html'), 'utf8');
  for (const { path, contents } of outputFiles) {
    const [name = '', extension = ''] = path.slice(made.length + 1).split('.');
    const digest = createHash('sha256').update(contents).digest('hex').slice(0, 10);
    const hashed = `${name}-${digest}.${extension}`;
    await writeFile(join(made, hashed), contents);
    html = html.replace(`${name}.${extension}`, `/ui/${hashed}`);
  }
  await writeFile(join(made, 'index.html'), html);
  await writeFile(join(made, 'icon.svg'), await readFile(join(SOURCE, 'icon.svg')));
  await rm(PAGE, { recursive: true, force: true });
  await rename(made, PAGE);
} finally {
  await rm(made, { recursive: true, force: true });
}
