// The service's 16-bit film (app/results/picture.py) -> samples. A browser's own decoder would leave 8 bits of them.
export interface Pixels {
  rows: number;
  columns: number;
  samples: Uint16Array; // row by row, 0 black, 65535 white
}

const GREY_16 = [16, 0, 0, 0, 0]; // bit depth, colour type, compression, filter method, no interlace

export async function decodePng16(bytes: ArrayBuffer): Promise<Pixels> {
  const view = new DataView(bytes);
  const columns = view.getUint32(16);
  const rows = view.getUint32(20);
  if (GREY_16.some((value, index) => view.getUint8(24 + index) !== value)) throw new Error("not a 16-bit grey PNG");
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 8; at < bytes.byteLength; ) {
    const length = view.getUint32(at);
    if (view.getUint32(at + 4) === 0x49444154) parts.push(new Uint8Array(bytes, at + 8, length)); // IDAT
    at += 12 + length;
  }
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const lines = new Uint8Array(await new Response(stream).arrayBuffer());
  const width = 2 * columns;
  const samples = new Uint16Array(rows * columns);
  const line = new Uint8Array(width);
  for (let row = 0; row < rows; row++) {
    const start = row * (width + 1);
    if (lines[start] !== 2) throw new Error("not filtered by Up");
    for (let at = 0; at < width; at++) line[at] = (line[at] ?? 0) + (lines[start + 1 + at] ?? 0);
    for (let column = 0; column < columns; column++)
      samples[row * columns + column] = ((line[2 * column] ?? 0) << 8) | (line[2 * column + 1] ?? 0);
  }
  return { rows, columns, samples };
}
