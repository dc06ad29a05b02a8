// A heatmap as the service sends it: transparent where nothing speaks for the finding.
import type { Place } from "../field.js";
import type { Evidence } from "./contours.js";

// Enough: a map of a few places across does not change faster.
const LONGEST = 160;

export interface Heatmap {
  wash: ImageBitmap;
  map: Evidence;
  place: Place; // of the map on the film
  version: string | null; // that made it; null: not known
}

// null: there is nothing to show. `place` is the part of the film that was judged; the picture covers the whole film.
export async function heatmapOf(png: Blob, place: Place, version: string | null): Promise<Heatmap | null> {
  const wash = await createImageBitmap(png);
  const [across, down] = [wash.width / place.columns, wash.height / place.rows];
  const [x, y] = [Math.round(place.left * across), Math.round(place.top * down)];
  const width = Math.max(1, Math.round(place.right * across) - x);
  const height = Math.max(1, Math.round(place.bottom * down) - y);
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  const [columns, rows] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("this browser gives no canvas");
  context.drawImage(wash, -x, -y);
  const { data } = context.getImageData(0, 0, width, height);
  // A canvas that makes pictures smaller itself lets what lies beyond the field into it.
  const mean = (column: number, row: number): number => {
    const [left, right] = [column, column + 1].map((at) => Math.floor((at * width) / columns)) as [number, number];
    const [top, bottom] = [row, row + 1].map((at) => Math.floor((at * height) / rows)) as [number, number];
    let sum = 0;
    for (let down = top; down < bottom; down++) {
      for (let along = left; along < right; along++) sum += data[4 * (down * width + along) + 3] ?? 0;
    }
    return sum / ((right - left) * (bottom - top));
  };
  const values = Float32Array.from({ length: columns * rows }, (_, at) => mean(at % columns, Math.floor(at / columns)) / 255);
  return values.some((value) => value > 0) ? { wash, map: { columns, rows, values }, place, version } : null;
}
