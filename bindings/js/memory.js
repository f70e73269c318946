// Limits the memory of a core module. Components declare no limit, and engines allow 4 GiB.

const PAGE_SIZE = 65_536;
const MEMORY_SECTION = 5;

/** Returns the module with its memory limited to `most` bytes, or to its initial size if that is larger. */
export function limitMemory(bytes, most) {
  const sections = [];
  let memories = 0;
  for (let at = 8; at < bytes.length; ) {
    const [size, start] = decodeNumber(bytes, at + 1);
    const end = start + size;
    if (bytes[at] === MEMORY_SECTION) {
      // Expects a single memory that is 32-bit and not shared.
      if (bytes[start] !== 1 || bytes[start + 1] > 1) throw new Error("the module has an unknown kind of memory");
      const [initial] = decodeNumber(bytes, start + 2);
      const section = [1, 1, ...encodeNumber(initial), ...encodeNumber(Math.max(Math.floor(most / PAGE_SIZE), initial))];
      sections.push(Uint8Array.of(MEMORY_SECTION, ...encodeNumber(section.length), ...section));
      memories += 1;
    } else {
      sections.push(bytes.subarray(at, end));
    }
    at = end;
  }
  if (memories !== 1) throw new Error("the module has no memory");
  return Buffer.concat([bytes.subarray(0, 8), ...sections]);
}

/** Decodes an unsigned LEB128 number. Returns it and the offset after it. */
function decodeNumber(bytes, at) {
  let value = 0;
  for (let shift = 0; ; shift += 7, at += 1) {
    value |= (bytes[at] & 0x7f) << shift;
    if (bytes[at] < 0x80) return [value, at + 1];
  }
}

function encodeNumber(value) {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...encodeNumber(value >>> 7)];
}
