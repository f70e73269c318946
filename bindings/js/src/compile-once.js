// Compiles each core module of the component once and shares it between all readers.

const modules = new Map();

/** Returns a platform's `coreModule`, given a function that compiles a file of `component/`. */
export function compileOnce(compile) {
  return (name) => {
    if (!modules.has(name)) {
      const module = compile(name);
      // The next reader tries again.
      module.catch(() => modules.delete(name));
      modules.set(name, module);
    }
    return modules.get(name);
  };
}
