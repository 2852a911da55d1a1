// Builds the console: console/ → shared/console/static/, or the folder that is the first argument. `make console` runs it.
//
// A shell file with everything that most views use, one file per view, one style sheet. Names contain a hash of their
// content; index.html names them all. Each file is there plain and compressed by Brotli; manifest.json lists what may be
// served. The same sources give the same bytes (the compressed ones by the same version of Node).
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants } from 'node:zlib';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const sources = join(root, 'console');
const target = resolve(process.argv[2] ?? join(root, 'shared', 'console', 'static'));

/** What the shell file exports to the views, besides all of lib/: parts that two views or the shell use. */
const SHELL = [
  ...readdirSync(join(sources, 'lib')).map((name) => `lib/${name}`),
  'parts/bits.js', 'parts/dialog.js', 'parts/load.js', 'parts/table.js', 'views.js',
];
const VIEWS = readdirSync(join(sources, 'views')).map((name) => basename(name, '.js')).filter((id) => id !== 'home');
const TYPES = { html: 'text/html; charset=utf-8', js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8', svg: 'image/svg+xml; charset=utf-8' };
const OPTIONS = { absWorkingDir: sources, bundle: true, minify: true, write: false, format: 'esm', target: 'es2022', charset: 'utf8', legalComments: 'none', logLevel: 'warning' };

const hashed = (name, content) => {
  const [stem, extension] = name.split('.');
  return `${stem}-${createHash('sha256').update(content).digest('hex').slice(0, 10)}.${extension}`;
};
const alias = (module, name) => `${module.replace(/\W/g, '_')}$${name}`;

/** The names that a module exports. */
async function exportsOf(module) {
  const { metafile } = await build({ ...OPTIONS, bundle: false, minify: false, metafile: true, entryPoints: [module], outdir: '/' });
  return Object.values(metafile.outputs)[0].exports;
}

const files = new Map();
const add = (name, content) => { const full = hashed(name, content); files.set(full, content); return full; };

// The shell file: app.js, and every export of the shared modules under a name of its own.
const names = new Map();
for (const module of SHELL) names.set(module, await exportsOf(module));
const entry = [...names].map(([module, all]) => all.length ? `export { ${all.map((name) => `${name} as ${alias(module, name)}`).join(', ')} } from './${module}';` : '').join('\n');
const shell = await build({ ...OPTIONS, stdin: { contents: `import './app.js';\n${entry}`, resolveDir: sources, sourcefile: 'shell.js' } });
const shellName = add('shell.js', shell.outputFiles[0].contents);

// The views: what they share with the shell comes from the shell file.
const fromShell = {
  name: 'from-shell',
  setup(builder) {
    builder.onResolve({ filter: /^\.\.?\// }, ({ path, resolveDir }) => {
      const module = relative(sources, resolve(resolveDir, path));
      return names.has(module) ? { path: module, namespace: 'shell' } : undefined;
    });
    builder.onLoad({ filter: /.*/, namespace: 'shell' }, ({ path }) => ({
      contents: `export { ${names.get(path).map((name) => `${alias(path, name)} as ${name}`).join(', ')} } from 'shell';`,
    }));
    builder.onResolve({ filter: /^shell$/ }, () => ({ path: `./${shellName}`, external: true }));
  },
};
const views = [];
for (const id of VIEWS) {
  const result = await build({ ...OPTIONS, entryPoints: [`views/${id}.js`], plugins: [fromShell] });
  views.push(`${id}:${add(`${id}.js`, result.outputFiles[0].contents)}`);
}

const index = readFileSync(join(sources, 'index.html'), 'utf8');
const sheets = [...index.matchAll(/<link rel="stylesheet" href="([^"]+)">/g)].map((match) => match[1]);
const styles = await build({ ...OPTIONS, stdin: { contents: sheets.map((name) => `@import './${name}';`).join('\n'), resolveDir: sources, loader: 'css' } });
const stylesName = add('console.css', styles.outputFiles[0].contents);
const iconName = add('icon.svg', readFileSync(join(sources, 'icon.svg')));

files.set('index.html', Buffer.from(index
  .replace(/(\s*<link rel="stylesheet" href="[^"]+">)+/, `\n  <link rel="stylesheet" href="${stylesName}">`)
  .replace('src="app.js"', `src="${shellName}"`)
  .replace('href="icon.svg"', `href="${iconName}"`)
  .replace('<html lang="en"', `<html lang="en" data-views="${views.join(' ')}"`)
  .replace(/\n\s+/g, '\n')));

rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
const manifest = {};
for (const [name, content] of [...files].sort(([a], [b]) => a < b ? -1 : 1)) {
  const bytes = Buffer.from(content);
  const packed = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } });
  writeFileSync(join(target, name), bytes);
  writeFileSync(join(target, `${name}.br`), packed);
  manifest[name] = { type: TYPES[name.split('.').pop()], immutable: name !== 'index.html' };
  if (!process.argv[2]) console.log(`${name.padEnd(28)} ${String(bytes.length).padStart(7)} B, ${String(packed.length).padStart(6)} B by Brotli`);
}
writeFileSync(join(target, 'manifest.json'), `${JSON.stringify(manifest, null, 1)}\n`);
