// What build.py packed into the page: bytes as base64, turned back into numbers.

/** base64 → Uint8Array. */
export const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

/** A 16-bit float (1 bit sign, 5 exponent, 10 fraction) → number. */
function float16(bits) {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  return exponent ? sign * 2 ** (exponent - 25) * (1024 + fraction) : sign * 2 ** -24 * fraction;
}

/** {names and shapes in the order of the bytes}, base64 of float16, little-endian → {name: {shape, data}}. */
export function unpackWeights(shapes, base64) {
  const bytes = bytesOf(base64);
  let start = 0;
  const unpack = ([name, shape]) => {
    const data = new Float32Array(shape.reduce((product, side) => product * side, 1));
    for (let i = 0; i < data.length; i++, start += 2) data[i] = float16(bytes[start] | (bytes[start + 1] << 8));
    return [name, { shape, data }];
  };
  return Object.fromEntries(Object.entries(shapes).map(unpack));
}

/** 0 … 255 → mean 0 and variance 1 over the training set. */
export const standardise = (pixels, { mean, std }) => Float32Array.from(pixels, (value) => (value / 255 - mean) / std);
