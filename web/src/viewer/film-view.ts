// The film on a canvas: window and level on 16 bits, zoom, pan, invert; over it contours of a heatmap, the outline of the field, sides.
import { h, replace } from "../dom.js";
import { legendOf, outlineOf } from "../field.js";
import type { JudgedField } from "../schemas.js";
import { S } from "../strings.js";
import { contoursOf } from "./contours.js";
import type { Heatmap } from "./heatmap.js";
import type { Pixels } from "./png16.js";
import { SideMarks, type Sides } from "./sides.js";

const FULL = 65535;
const MOST_ZOOM = 16;
const STEP = 1.25;

export class FilmView {
  readonly element: HTMLElement;
  readonly canvas = h("canvas", { tabindex: 0, role: "application", "aria-label": S.film.canvas });
  #pixels: Pixels | null = null;
  #shown = document.createElement("canvas"); // the film at its own size, windowed
  #heatmap: Heatmap | null = null;
  #contours: SVGElement | null = null;
  #outline: SVGElement | null = null; // where the film is not judged whole
  #width = FULL;
  #level = FULL / 2;
  #inverted = false;
  #zoom = 1; // 1 fits the film in
  #x = 0; // of the film's middle from the canvas' middle, in CSS pixels
  #y = 0;
  #pending = false;
  #stale = true; // the window changed
  readonly #readout = h("output", { class: "readout" });
  readonly #message = h("p", { class: "message", role: "status" });
  readonly #caption = h("output", { class: "caption" });
  readonly #scale = h("p", { class: "scale", hidden: true }, S.film.scale);
  readonly #opacity = h("input", { type: "range", id: "opacity", "aria-label": S.film.opacity, title: S.film.opacity, min: 0, max: 100,
    value: 45, hidden: true, oninput: () => this.#draw() });
  readonly #heatmapTools: HTMLElement;
  readonly #washOn = h("input", { type: "checkbox", id: "wash-on", onchange: () => this.#draw() });
  readonly #heatmapOn = h("input", { type: "checkbox", id: "heatmap-on", checked: true, onchange: () => this.#draw() });
  readonly #outlineOn = h("input", { type: "checkbox", id: "outline-on", checked: true, onchange: () => this.#draw() });
  readonly #outlineBox = h("label", { class: "check" }, this.#outlineOn, S.film.outline);
  readonly #legend = h("output", {});
  readonly #sidesSaid = h("output", { class: "sides-said" });
  readonly #said = h("div", {}, this.#legend, " ", this.#sidesSaid);
  readonly #field = h("div", { class: "field", hidden: true }, this.#outlineBox, this.#said);
  readonly #sides = new SideMarks();
  readonly #told = h("div", { class: "told" }, this.#caption, this.#scale);
  readonly #stage = h("div", { class: "stage" }, this.canvas, this.#sides.element, this.#message, this.#told, this.#readout);
  readonly #pan = h("input", { type: "radio", name: "tool", id: "tool-pan" });

  constructor() {
    const button = (text: string, act: () => void, label = text): HTMLElement =>
      h("button", { type: "button", onclick: act, "aria-label": label }, text);
    this.#heatmapTools = h(
      "div",
      { class: "heatmap-tools", hidden: true },
      h("label", { class: "check" }, this.#heatmapOn, S.film.heatmap),
      h("label", { class: "check" }, this.#washOn, S.film.wash),
      this.#opacity,
    );
    this.element = h(
      "section",
      { class: "film", "aria-label": S.film.region },
      this.#stage,
      this.#field,
      h(
        "div",
        { class: "tools" },
        h(
          "fieldset",
          { class: "choice" },
          h("legend", { class: "hidden" }, S.film.tool),
          h("input", { type: "radio", name: "tool", id: "tool-window", checked: true }),
          h("label", { for: "tool-window" }, S.film.toolWindow),
          this.#pan,
          h("label", { for: "tool-pan" }, S.film.toolPan),
        ),
        button("−", () => this.#zoomBy(1 / STEP), S.film.zoomOut),
        button("+", () => this.#zoomBy(STEP), S.film.zoomIn),
        button(S.film.invert, () => this.#invert()),
        button(S.film.reset, () => this.reset()),
        h("span", { class: "spring" }),
        this.#heatmapTools,
      ),
    );
    this.#listen();
    new ResizeObserver(() => this.#draw()).observe(this.canvas);
    this.invite();
  }

  // While there is no film.
  invite(): void {
    this.message(S.film.none, S.film.hint);
  }

  message(...lines: string[]): void {
    replace(this.#message, ...lines.map((line) => h("span", {}, line)));
    this.#message.hidden = !lines.length;
  }

  // A field is given where it is not the whole film.
  show(pixels: Pixels | null, field: JudgedField | null = null, sides: Sides = "unknown"): void {
    this.#pixels = pixels;
    this.#outline?.remove();
    this.#outline = field && outlineOf(field);
    if (this.#outline) this.canvas.after(this.#outline);
    this.#field.hidden = !pixels;
    this.#outlineBox.hidden = !field;
    replace(this.#legend, field && legendOf(field));
    this.#sides.element.toggleAttribute("data-known", sides === "usual");
    replace(this.#sidesSaid, S.film.sides[sides]);
    if (!pixels) this.heatmap(null, ""); // one that came before its film stays
    this.message();
    this.reset();
  }

  // `weak`: of a finding that is not called present or indeterminate. Its lines are no less wide, since each map is told by its own
  // strongest place, so they are drawn as less.
  heatmap(heatmap: Heatmap | null, caption: string, weak = false): void {
    this.#heatmap = heatmap;
    this.#contours?.remove();
    this.#contours = heatmap && contoursOf(heatmap.map, heatmap.place);
    this.#contours?.toggleAttribute("data-weak", weak);
    if (this.#contours) this.canvas.after(this.#contours);
    this.#scale.hidden = !heatmap;
    this.#heatmapTools.hidden = !heatmap;
    replace(this.#caption, caption);
    this.canvas.dataset.heatmap = heatmap ? caption : "";
    this.#draw();
  }

  reset(): void {
    [this.#width, this.#level, this.#inverted, this.#zoom, this.#x, this.#y] = [FULL, FULL / 2, false, 1, 0, 0];
    this.#stale = true;
    this.#draw();
  }

  #invert(): void {
    this.#inverted = !this.#inverted;
    this.#stale = true;
    this.#draw();
  }

  #windowBy(width: number, level: number): void {
    this.#width = Math.min(2 * FULL, Math.max(FULL / 256, this.#width + width * FULL));
    this.#level = Math.min(FULL, Math.max(0, this.#level + level * FULL));
    this.#stale = true;
    this.#draw();
  }

  // Zoom about a place of the canvas, which stays where it is; its middle if none is given.
  #zoomBy(factor: number, x = 0, y = 0): void {
    const zoom = Math.min(MOST_ZOOM, Math.max(0.5, this.#zoom * factor));
    const ratio = zoom / this.#zoom;
    [this.#zoom, this.#x, this.#y] = [zoom, x + (this.#x - x) * ratio, y + (this.#y - y) * ratio];
    this.#draw();
  }

  #panBy(x: number, y: number): void {
    this.#x += x;
    this.#y += y;
    this.#draw();
  }

  #listen(): void {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      canvas.focus();
      event.preventDefault();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!event.buttons || !this.#pixels) return;
      if (event.buttons !== 1 || this.#pan.checked) this.#panBy(event.movementX, event.movementY);
      // To the right widens, downwards darkens, a canvas' height for the whole range: as other viewers do.
      else this.#windowBy(event.movementX / canvas.clientHeight, event.movementY / canvas.clientHeight);
    });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const box = canvas.getBoundingClientRect();
        const x = event.clientX - box.left - box.width / 2;
        this.#zoomBy(Math.exp(-event.deltaY / 500), x, event.clientY - box.top - box.height / 2);
      },
      { passive: false },
    );
    canvas.addEventListener("dblclick", () => this.reset());
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const arrows: Record<string, [number, number]> = {
        ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
      };
      const arrow = arrows[event.key];
      if (arrow && event.shiftKey) this.#windowBy(arrow[0] / 20, arrow[1] / 20);
      else if (arrow) this.#panBy(-40 * arrow[0], -40 * arrow[1]);
      else if (event.key === "+" || event.key === "=") this.#zoomBy(STEP);
      else if (event.key === "-") this.#zoomBy(1 / STEP);
      else if (event.key === "i" || event.key === "I") this.#invert();
      else if (event.key === "r" || event.key === "R") this.reset();
      else if (event.key === "h" || event.key === "H") this.#heatmapOn.click();
      else if (event.key === "w" || event.key === "W") this.#washOn.click();
      else if (event.key === "o" || event.key === "O") this.#outlineOn.click();
      else return;
      event.preventDefault();
    });
  }

  #draw(): void {
    if (this.#pending) return;
    this.#pending = true;
    requestAnimationFrame(() => {
      this.#pending = false;
      this.#paint();
    });
  }

  #paint(): void {
    const { canvas } = this;
    const scale = window.devicePixelRatio;
    const [width, height] = [Math.round(canvas.clientWidth * scale), Math.round(canvas.clientHeight * scale)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d", { alpha: false });
    if (!context) return;
    context.resetTransform();
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    const pixels = this.#pixels;
    if (!pixels) {
      replace(this.#readout);
      return;
    }
    if (this.#stale) this.#applyWindow(pixels);
    const fit = Math.min(width / pixels.columns, height / pixels.rows) * this.#zoom;
    context.setTransform(fit, 0, 0, fit, width / 2 + this.#x * scale, height / 2 + this.#y * scale);
    context.imageSmoothingEnabled = fit < 3; // past that a person wants to see pixels
    context.imageSmoothingQuality = "high";
    context.drawImage(this.#shown, -pixels.columns / 2, -pixels.rows / 2);
    if (this.#heatmap && this.#heatmapOn.checked && this.#washOn.checked) {
      context.imageSmoothingEnabled = true;
      context.globalAlpha = this.#opacity.valueAsNumber / 100;
      context.drawImage(this.#heatmap.wash, -pixels.columns / 2, -pixels.rows / 2, pixels.columns, pixels.rows);
      context.globalAlpha = 1;
    }
    this.#place(pixels, fit / scale);
    const share = (value: number): string => `${Math.round((100 * value) / FULL)} %`;
    replace(
      this.#readout,
      `${S.film.window} ${share(this.#width)} · ${S.film.level} ${share(this.#level)} · ` +
        `${S.film.zoom} ${Math.round((100 * fit) / scale)} % · ${pixels.columns}×${pixels.rows}`,
    );
  }

  // What lies over the canvas, which shows this part of the film.
  #place({ rows, columns }: Pixels, fit: number): void {
    const [width, height] = [this.canvas.clientWidth / fit, this.canvas.clientHeight / fit];
    const [x, y] = [columns / 2 - this.#x / fit - width / 2, rows / 2 - this.#y / fit - height / 2];
    for (const layer of [this.#outline, this.#contours, this.#sides.element]) {
      layer?.setAttribute("viewBox", [x, y, width, height].join(" "));
    }
    this.#sides.place({ x, y, width, height }, columns, 1 / fit);
    this.#outline?.toggleAttribute("hidden", !this.#outlineOn.checked);
    this.#contours?.toggleAttribute("hidden", !this.#heatmapOn.checked);
    this.#scale.hidden = !this.#contours || !this.#heatmapOn.checked;
    this.#opacity.hidden = !this.#washOn.checked;
  }

  #applyWindow(pixels: Pixels): void {
    this.#stale = false;
    const table = new Uint32Array(FULL + 1); // sample -> ABGR
    const low = this.#level - this.#width / 2;
    for (let sample = 0; sample <= FULL; sample++) {
      const share = Math.min(1, Math.max(0, (sample - low) / this.#width));
      const grey = Math.round(255 * (this.#inverted ? 1 - share : share));
      table[sample] = (0xff000000 | (grey * 0x010101)) >>> 0;
    }
    const { rows, columns, samples } = pixels;
    const image = new ImageData(columns, rows);
    const packed = new Uint32Array(image.data.buffer);
    for (let at = 0; at < samples.length; at++) packed[at] = table[samples[at] ?? 0] ?? 0;
    [this.#shown.width, this.#shown.height] = [columns, rows];
    this.#shown.getContext("2d")?.putImageData(image, 0, 0);
  }
}
