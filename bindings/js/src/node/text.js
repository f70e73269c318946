// Faster conversions with Node's buffers. Most text is ASCII, which needs no decoding.

import { Buffer, isAscii, isUtf8 } from "node:buffer";

import { text } from "../text.js";

text.isUtf8 = isUtf8;
text.bytes = Buffer.allocUnsafeSlow;
text.decode = (bytes) => {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return isAscii(buffer) ? buffer.latin1Slice() : buffer.utf8Slice();
};
