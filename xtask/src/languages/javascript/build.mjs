// node build.mjs ENTRY WORLD WIT OUT: a JavaScript plugin becomes a component.

import { writeFile } from 'node:fs/promises';

import { componentize } from '@bytecodealliance/componentize-js';

const [sourcePath, worldName, witPath, out] = process.argv.slice(2);
const { component } = await componentize({
  sourcePath: `./${sourcePath}`,
  witPath,
  worldName,
  // A plugin is given nothing but the contract: without these the engine imports no WASI.
  disableFeatures: ['stdio', 'random', 'clocks', 'http', 'fetch-event'],
});
await writeFile(out, component);
