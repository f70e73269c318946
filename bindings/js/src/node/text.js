// What Node knows of text. Most is ASCII, which is a string as it stands.

import { Buffer, isAscii, isUtf8 } from "node:buffer";

import { text } from "../text.js";

text.isUtf8 = isUtf8;
text.bytes = Buffer.allocUnsafeSlow;
text.decode = (bytes) => {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return isAscii(buffer) ? buffer.latin1Slice() : buffer.utf8Slice();
};
