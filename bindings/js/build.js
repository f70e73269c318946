// Makes what is not kept in the repository: `component/`, the WebAssembly component as JavaScript and core modules,
// by jco; `dist/`, the whole reader in one file for pages without a bundler, by esbuild; and the license, which npm wants
// beside `package.json`.
import { copyFile, mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { transpile } from "@bytecodealliance/jco-transpile";
import { build } from "esbuild";

import { withMemory } from "./memory.js";

/** The same limit as in the program and the Python package. */
const MEMORY_MAX = 512 << 20;

const here = dirname(fileURLToPath(import.meta.url));
const source = process.argv[2] ?? join(here, "../../host/component/kinesis_reader.wasm");

// Instantiated by a function, so that each reader has an instance of its own, and so that whoever calls it decides where
// the core modules come from: a file, the network, or an import.
const component = join(here, "component");
const { files, imports } = await transpile(source, { name: "reader", outDir: component, instantiation: "async", nodejsCompat: false });
if (imports.length > 0) throw new Error(`the component imports something: ${imports.join(", ")}`);
const glue = Object.keys(files).find((path) => path.endsWith("/reader.js"));
files[glue] = withOwnText(new TextDecoder().decode(files[glue]));
const core = Object.keys(files).find((path) => path.endsWith("/reader.core.wasm"));
files[core] = withMemory(files[core], MEMORY_MAX);
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

/** jco's code with `src/text.js` for what it makes of text. Where it is other code than is known here, nothing is built. */
function withOwnText(code) {
  const lower = /function _utf8AllocateAndEncode\(s, realloc, memory\) \{[^]*?\n  \}\n/g;
  const lift = /TEXT_DECODER_UTF8\.decode\((new Uint8Array\(memory0\.buffer, \w+, \w+\))\)/g;
  const found = [lower, lift].map((pattern) => (code.match(pattern) ?? []).length);
  if (found[0] !== 1 || found[1] < 10 || found[1] + 1 !== code.split("TEXT_DECODER_UTF8").length - 1) {
    throw new Error(`jco's code is not as it was: ${found}\nhint: see withOwnText in build.js`);
  }
  const own = 'import { lift as _lift, lower as _utf8AllocateAndEncode } from "../src/text.js";\n';
  return own + code.replace(lower, "").replace(lift, "_lift($1)");
}
