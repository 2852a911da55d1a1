// ECDSA signatures: DER (RFC 3279, section 2.2.3), as OpenSSL writes them, and r then s (IEEE P1363), as JOSE and WebCrypto do.

/** Bytes of one number of a signature, by curve. */
export const SIZES = { 'P-256': 32, 'P-384': 48, 'P-521': 66 };

/**
 * Read one DER INTEGER that is positive and written in the shortest form.
 * @param {Uint8Array} data @param {number} at @param {number} size the most bytes that the number may have
 * @returns {[Uint8Array, number] | null} its bytes without the sign byte, and where the next element begins
 */
function integer(data, at, size) {
  const length = data[at + 1], start = at + 2, end = start + length;
  if (data[at] !== 0x02 || !length || length > size + 1 || end > data.length || data[start] & 0x80) return null;
  const padded = data[start] === 0 && length > 1;
  if (padded && !(data[start + 1] & 0x80)) return null;
  const number = data.subarray(padded ? start + 1 : start, end);
  return number.length > size ? null : [number, end];
}

/**
 * The signature as r then s, each of `size` bytes; null if `data` is no DER signature of that size.
 * @param {Uint8Array} data @param {number} size
 */
export function fromDer(data, size) {
  let at = 2;
  let length = data[1];
  if (length === 0x81) { length = data[2]; at = 3; if (length < 0x80) return null; }
  if (data[0] !== 0x30 || length > 0x80 + size || at + length !== data.length) return null;
  const out = new Uint8Array(2 * size);
  for (const offset of [size, 2 * size]) {
    const read = integer(data, at, size);
    if (!read) return null;
    out.set(read[0], offset - read[0].length);
    at = read[1];
  }
  return at === data.length ? out : null;
}

/** @param {Uint8Array} raw r then s */
export function toDer(raw) {
  const half = raw.length / 2;
  const body = [raw.subarray(0, half), raw.subarray(half)].flatMap((number) => {
    let first = 0;
    while (first < half - 1 && number[first] === 0) first++;
    const bytes = [...number.subarray(first)];
    if (bytes[0] & 0x80) bytes.unshift(0);
    return [0x02, bytes.length, ...bytes];
  });
  return Uint8Array.from([0x30, ...(body.length > 0x7f ? [0x81] : []), body.length, ...body]);
}
