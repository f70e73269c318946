// Limits the memory of a core module. A component has no limit of its own, and engines allow 4 GiB.

const PAGE = 65_536;
const MEMORY_SECTION = 5;

/** Returns the module with its memory limited to `most` bytes, or to its initial size if that is larger. */
export function withMemory(bytes, most) {
  const sections = [];
  let found = 0;
  for (let at = 8; at < bytes.length; ) {
    const [size, start] = number(bytes, at + 1);
    const end = start + size;
    if (bytes[at] === MEMORY_SECTION) {
      const [first] = number(bytes, start + 2);
      // One 32-bit memory that is not shared.
      if (bytes[start] !== 1 || bytes[start + 1] > 1) throw new Error("the memory of the module is of an unknown kind");
      const memory = [1, 1, ...encoded(first), ...encoded(Math.max(Math.floor(most / PAGE), first))];
      sections.push(Uint8Array.of(MEMORY_SECTION, ...encoded(memory.length), ...memory));
      found += 1;
    } else {
      sections.push(bytes.subarray(at, end));
    }
    at = end;
  }
  if (found !== 1) throw new Error("the module has no memory");
  return Buffer.concat([bytes.subarray(0, 8), ...sections]);
}

/** Decodes an unsigned LEB128 number; returns it and the offset after it. */
function number(bytes, at) {
  let value = 0;
  for (let shift = 0; ; shift += 7, at += 1) {
    value |= (bytes[at] & 0x7f) << shift;
    if (bytes[at] < 0x80) return [value, at + 1];
  }
}

function encoded(value) {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...encoded(value >>> 7)];
}
