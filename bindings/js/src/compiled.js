// The core modules of the component, each compiled once for all readers.

const compiled = new Map();

/** Makes the `coreModule` of a platform from what compiles a file of `component/`. */
export function compiledOnce(compile) {
  return (name) => {
    if (!compiled.has(name)) {
      const module = compile(name);
      // A module that could not be had is tried again by the next reader.
      module.catch(() => compiled.delete(name));
      compiled.set(name, module);
    }
    return compiled.get(name);
  };
}
