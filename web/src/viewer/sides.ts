// R and L at the edges of the picture. They are the page's own, and say what the film's header says; a wrong one is worse than none.
import { svg } from "../dom.js";

// What the service reads of a film's header (docs/page.md). usual: the patient's right lies at the left edge of the picture.
export type Sides = "usual" | "mirrored" | "unknown";

export function sidesOf(response: Response): Sides {
  const told = response.headers.get("X-Film-Sides");
  return told === "usual" || told === "mirrored" ? told : "unknown";
}

const SIZE = 20; // CSS pixels
const INSET = 15;

export class SideMarks {
  readonly element = svg("svg", { class: "over sides", "aria-hidden": "true" });
  readonly #marks = ["R", "L"].map((side) => ({
    ground: svg("rect", { rx: 0.2 * SIZE }),
    letter: svg("text", { "text-anchor": "middle", "dominant-baseline": "central" }, side),
  }));

  constructor() {
    for (const { ground, letter } of this.#marks) this.element.append(ground, letter);
  }

  // `shown` is the part of the film's plane that is seen, in pixels of the film; `unit` is a CSS pixel of them.
  place(shown: { x: number; y: number; width: number; height: number }, columns: number, unit: number): void {
    const inset = INSET * unit;
    // At the film's edge, and at the edge of what is seen where that lies beyond.
    const left = Math.max(0, shown.x) + inset;
    const right = Math.min(columns, shown.x + shown.width) - inset;
    const y = shown.y + shown.height / 2;
    for (const [at, { ground, letter }] of this.#marks.entries()) {
      const x = at ? right : left;
      const [wide, high] = [1.15 * SIZE * unit, 1.3 * SIZE * unit];
      set(ground, { x: x - wide / 2, y: y - high / 2, width: wide, height: high, rx: 4 * unit });
      set(letter, { x, y, "font-size": SIZE * unit });
    }
    this.element.toggleAttribute("hidden", right - left < 2 * inset);
  }
}

function set(element: Element, values: Record<string, number>): void {
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value.toFixed(2));
}
