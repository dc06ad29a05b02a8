// Lines of equal evidence over a film: the film under them stays readable, which a wash of colour does not leave it.
import { svg } from "../dom.js";
import type { Place } from "../field.js";

// Shares of the strongest place of the film, from the outermost line to the innermost.
export const LEVELS = [0.5, 0.8] as const;

// A map over a part of the film: samples in [0, 1], row by row, each in the middle of its cell.
export interface Evidence {
  columns: number;
  rows: number;
  values: Float32Array;
}

type Point = [x: number, y: number];

// Corners of a square of samples, as bits 1, 2, 4 and 8, clockwise from the one above at the left -> the pairs of its sides, from the
// upper one clockwise, that a line runs between. Where two opposite corners are higher (5, 10), the middle decides.
const SIDES: readonly (readonly [number, number][])[] = [
  [], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], [[3, 0], [1, 2]], [[0, 2]], [[3, 2]],
  [[2, 3]], [[2, 0]], [[0, 1], [2, 3]], [[2, 1]], [[1, 3]], [[1, 0]], [[0, 3]], [],
];

// Marching squares (Lorensen and Cline, 1987, in two dimensions): pieces of the line, in samples. It stays open at the map's edges.
export function isoLine({ columns, rows, values }: Evidence, level: number): [Point, Point][] {
  const at = (column: number, row: number): number => (values[row * columns + column] ?? 0) - level;
  const pieces: [Point, Point][] = [];
  for (let row = 0; row + 1 < rows; row++) {
    for (let column = 0; column + 1 < columns; column++) {
      const corners: Point[] = [[column, row], [column + 1, row], [column + 1, row + 1], [column, row + 1]];
      const over = corners.map(([x, y]) => at(x, y));
      let kind = over.reduce((bits, value, corner) => bits | (value >= 0 ? 1 << corner : 0), 0);
      if ((kind === 5 || kind === 10) && over.reduce((sum, value) => sum + value, 0) >= 0) kind = 15 - kind;
      const crossing = (side: number): Point => {
        const [[x, y], [nextX, nextY]] = [corners[side] as Point, corners[(side + 1) % 4] as Point];
        const [here, there] = [over[side] ?? 0, over[(side + 1) % 4] ?? 0];
        const share = here / (here - there);
        return [x + share * (nextX - x), y + share * (nextY - y)];
      };
      for (const [from, to] of SIDES[kind] ?? []) pieces.push([crossing(from), crossing(to)]);
    }
  }
  return pieces;
}

// Means over a few samples. A map comes in steps of a 255th, and where it is flat its lines would run along the steps.
export function smoothed({ columns, rows, values }: Evidence, reach = 3): Evidence {
  const along = (from: Float32Array, length: number, step: number, lines: number, jump: number): Float32Array => {
    const to = new Float32Array(from.length);
    for (let line = 0; line < lines; line++) {
      for (let at = 0; at < length; at++) {
        const near = Math.min(reach, at, length - 1 - at); // even to both sides, so that no line moves
        let sum = 0;
        for (let by = -near; by <= near; by++) sum += from[line * jump + (at + by) * step] ?? 0;
        to[line * jump + at * step] = sum / (2 * near + 1);
      }
    }
    return to;
  };
  return { columns, rows, values: along(along(values, columns, 1, rows, columns), rows, columns, columns, 1) };
}

// The lines as a layer over the film; `place` is the part of the film that the map lies over.
export function contoursOf(map: Evidence, place: Place): SVGElement {
  const [across, down] = [(place.right - place.left) / map.columns, (place.bottom - place.top) / map.rows];
  const written = ([x, y]: Point): string =>
    `${(place.left + (x + 0.5) * across).toFixed(1)} ${(place.top + (y + 0.5) * down).toFixed(1)}`;
  const smooth = smoothed(smoothed(map));
  const paths = LEVELS.map((level) => isoLine(smooth, level).map((piece) => `M${piece.map(written).join("L")}`).join(""));
  return svg(
    "svg",
    { class: "over contours", "aria-hidden": "true" },
    ...paths.map((d) => svg("path", { d, class: "under" })),
    ...paths.map((d, level) => svg("path", { d, "data-level": LEVELS[level] })),
  );
}
