// Makes what is not kept in the repository: `component/`, the WebAssembly component as JavaScript and core modules,
// by jco; `dist/`, the whole reader in one file for pages without a bundler, by esbuild; and the license, which npm wants
// beside `package.json`.
import { copyFile, mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { transpile } from "@bytecodealliance/jco-transpile";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const source = process.argv[2] ?? join(here, "../../host/component/kinesis_reader.wasm");

// Instantiated by a function, so that each reader has an instance of its own, and so that whoever calls it decides where
// the core modules come from: a file, the network, or an import.
const component = join(here, "component");
const { files, imports } = await transpile(source, { name: "reader", outDir: component, instantiation: "async", nodejsCompat: false });
if (imports.length > 0) throw new Error(`the component imports something: ${imports.join(", ")}`);
await rm(component, { recursive: true, force: true });
for (const [path, bytes] of Object.entries(files)) {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes);
}

await rm(join(here, "dist"), { recursive: true, force: true });
await build({
  entryPoints: [join(here, "src/index.js")],
  outfile: join(here, "dist/kinesis-reader.js"),
  bundle: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  minify: true,
  // The core modules stay in `component/`, which is as far from `dist/` as from `src/`.
  logLevel: "warning",
});

await copyFile(join(here, "../../LICENSE"), join(here, "LICENSE"));
