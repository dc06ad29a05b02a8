// The exposed field: the part of a film that is judged (app/pipeline/exposed_field.py).
import { h, svg } from "./dom.js";
import type { JudgedField } from "./schemas.js";
import { S } from "./strings.js";

type Point = [x: number, y: number];

// A part of a film of so many rows and columns: a rectangle, half open, in its pixels.
export type Place = Omit<JudgedField, "outlines">;

export const wholeOf = ({ rows, columns }: { rows: number; columns: number }): Place =>
  ({ rows, columns, top: 0, left: 0, bottom: rows, right: columns });

// What an answer with a film says of it, where it is not the whole film.
export function fieldOf(response: Response): JudgedField | null {
  const told = response.headers.get("X-Exposed-Field");
  if (!told) return null;
  const field = JSON.parse(told) as JudgedField;
  const { rows, columns, top, left, bottom, right, outlines } = field;
  return top || left || bottom < rows || right < columns || outlines.length ? field : null;
}

// Its outline as a layer over the film. The legend says in words what the line is, so nobody has to be read it aloud.
export function outlineOf(field: JudgedField): SVGElement {
  const points = boundary(field).map((point) => point.join()).join(" ");
  return svg(
    "svg",
    { class: "over outline", viewBox: `0 0 ${field.columns} ${field.rows}`, "aria-hidden": "true" },
    svg("polygon", { points, class: "under" }),
    svg("polygon", { points }),
  );
}

export function legendOf(field: JudgedField): HTMLElement {
  const sides = {
    top: field.top,
    left: field.left,
    bottom: field.rows - field.bottom,
    right: field.columns - field.right,
  };
  return h("span", {}, h("strong", {}, S.field.judged), ` ${S.field.leftOut(sides, field.outlines.length > 0)}`);
}

// Corners of the field. At most one outline is hollow (a header has one polygonal shutter); the others cut it in turn.
function boundary({ top, left, bottom, right, outlines }: JudgedField): Point[] {
  const rectangle: Point[] = [[left, top], [right, top], [right, bottom], [left, bottom]];
  const shapes = [...outlines, rectangle].map(clockwise);
  const [first = [], ...others] = [...shapes.filter((each) => !isConvex(each)), ...shapes.filter(isConvex)];
  return others.reduce(cutBy, first);
}

// Twice the area of a triangle; positive where it is walked clockwise as it is seen, since rows go down.
const turn = (a: Point, b: Point, c: Point): number => (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);

const edges = (shape: Point[]): [Point, Point][] => shape.map((corner, at) => [corner, shape[(at + 1) % shape.length] ?? corner]);

const clockwise = (shape: Point[]): Point[] =>
  edges(shape).reduce((area, [a, b]) => area + turn([0, 0], a, b), 0) < 0 ? [...shape].reverse() : shape;

const isConvex = (shape: Point[]): boolean =>
  edges(shape).every(([a, b], at) => turn(a, b, shape[(at + 2) % shape.length] ?? a) > -1);

// Sutherland and Hodgman, 1974.
function cutBy(shape: Point[], convex: Point[]): Point[] {
  return edges(convex).reduce(
    (kept, [start, end]) =>
      edges(kept).flatMap(([a, b]) => {
        const [here, there] = [turn(start, end, a), turn(start, end, b)];
        const inside: Point[] = here >= 0 ? [a] : [];
        if (here >= 0 === there >= 0) return inside;
        const at = here / (here - there);
        return [...inside, [a[0] + at * (b[0] - a[0]), a[1] + at * (b[1] - a[1])] as Point];
      }),
    shape,
  );
}
