// Builds what is not in the repository:
//
// - `component/`: the WebAssembly component as JavaScript and core modules, made by jco
// - `dist/`: the package as one file, for pages without a bundler, made by esbuild
// - `LICENSE`: npm expects it beside `package.json`
//
// usage: node build.js [COMPONENT]
import { copyFile, mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { transpile } from "@bytecodealliance/jco-transpile";
import { build } from "esbuild";

import { limitMemory } from "./memory.js";

/** The same limit as in the program and the Python package. */
const MEMORY_MAX = 512 << 20;

const here = dirname(fileURLToPath(import.meta.url));
const source = process.argv[2] ?? join(here, "../../host/component/kinesis_reader.wasm");

// With `instantiation`, each reader has its own instance, and the caller decides where the core modules come from: a file,
// the network, or an import.
const component = join(here, "component");
const { files, imports } = await transpile(source, { name: "reader", outDir: component, instantiation: "async", nodejsCompat: false });
if (imports.length > 0) throw new Error(`the component imports something: ${imports.join(", ")}`);
const glue = Object.keys(files).find((path) => path.endsWith("/reader.js"));
files[glue] = replaceText(new TextDecoder().decode(files[glue]));
const core = Object.keys(files).find((path) => path.endsWith("/reader.core.wasm"));
files[core] = limitMemory(files[core], MEMORY_MAX);
await rm(component, { recursive: true, force: true });
for (const [path, bytes] of Object.entries(files)) {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes);
}

await rm(join(here, "dist"), { recursive: true, force: true });
await build({
  entryPoints: [join(here, "src/index.js")],
  // Core modules are loaded from `../component/`, which is at the same place for `dist/` and `src/`.
  outfile: join(here, "dist/kinesis-reader.js"),
  bundle: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  minify: true,
  logLevel: "warning",
});

await copyFile(join(here, "../../LICENSE"), join(here, "LICENSE"));

/** Replaces how jco's code converts text by `src/text.js`. Fails if the code is not what it expects. */
function replaceText(code) {
  const lower = /function _utf8AllocateAndEncode\(s, realloc, memory\) \{[^]*?\n  \}\n/g;
  const lift = /TEXT_DECODER_UTF8\.decode\((new Uint8Array\(memory0\.buffer, \w+, \w+\))\)/g;
  const found = [lower, lift].map((pattern) => (code.match(pattern) ?? []).length);
  if (found[0] !== 1 || found[1] < 10 || found[1] + 1 !== code.split("TEXT_DECODER_UTF8").length - 1) {
    throw new Error(`the code that jco generates has changed: ${found}\nhint: adapt replaceText in build.js`);
  }
  const imports = 'import { lift as _lift, lower as _utf8AllocateAndEncode } from "../src/text.js";\n';
  return imports + code.replace(lower, "").replace(lift, "_lift($1)");
}
