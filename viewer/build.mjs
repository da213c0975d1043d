// Builds the page into spanrun's package, or into the folder that is named.
import { build } from 'esbuild';
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] || join(here, '../src/spanrun/view');
const LIBRARIES = ['preact', 'htm'];

const common = { bundle: true, minify: true, target: 'es2022', legalComments: 'none', absWorkingDir: here, charset: 'utf8' };
await build({ ...common, entryPoints: ['src/main.js'], format: 'iife', outfile: join(out, 'page.js') });
await build({ ...common, entryPoints: ['src/style.css'], outfile: join(out, 'page.css') });

const parts = [];
for (const name of LIBRARIES) {
  const folder = join(here, 'node_modules', name);
  const { version, license } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
  parts.push(`${name} ${version} (${license})\n\n${(await readFile(join(folder, 'LICENSE'), 'utf8')).trim()}\n`);
}
await writeFile(join(out, 'page.licences.txt'), `page.js contains these libraries.\n\n${parts.join('\n---\n\n')}`);
