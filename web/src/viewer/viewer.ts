// The viewer's parts, and what passes between them: films are dropped, judged, and looked at.
import { asProblem } from "../api.js";
import { h, replace, save } from "../dom.js";
import { bar } from "../frame.js";
import { descriptionOf } from "../models.js";
import { readable, S } from "../strings.js";
import { csvOf } from "./export.js";
import { FilmView } from "./film-view.js";
import { type Film, filmsOfDrop } from "./film.js";
import { FilmsPanel } from "./films-panel.js";
import { captionOf, Heatmaps, isWeak, madeWith } from "./heatmaps.js";
import { judge } from "./judge.js";
import { FilmList } from "./list.js";
import { Panel } from "./panel.js";
import { Pictures } from "./pictures.js";
import { Queue } from "./queue.js";
import { Releases } from "./releases.js";
import { Selection } from "./selection.js";

export class Viewer {
  readonly #selection = new Selection((film) => this.#chosen(film));
  readonly #queue = new Queue({
    judge,
    first: () => this.#selection.film,
    changed: (film) => this.#judged(film),
    finished: () => this.#list.sort(),
  });
  readonly #list = new FilmList(this.#queue.films, (film) => this.#selection.choose(film));
  readonly #films = new FilmsPanel(this.#list, {
    open: (films) => this.#add(films),
    saveCsv: () => save("films.csv", new Blob([csvOf(this.#queue.films)], { type: "text/csv" })),
    clear: () => this.#clear(),
  });
  readonly #releases = new Releases((film) => this.#reviewed(film));
  readonly #view = new FilmView();
  readonly #panel = new Panel((film, finding) => void this.#explain(film, finding));
  readonly #pictures = new Pictures();
  readonly #heatmaps = new Heatmaps(madeWith(this.#pictures));
  readonly #printHead = h("header", { class: "print-only" });

  // Into the page's body, of which it takes hold.
  fill(body: HTMLElement): void {
    const main = h("main", {}, this.#films.element, this.#view.element, this.#panel.element);
    body.append(bar("viewer", () => undefined), this.#printHead, main);
    this.#takeDrops(body);
    document.addEventListener("keydown", (event) => this.#step(event));
    window.addEventListener("beforeprint", () => this.#headPrint());
    this.#films.count(this.#queue.counts());
  }

  #add(films: Film[]): void {
    const first = this.#queue.films.length === 0;
    this.#queue.add(films);
    this.#list.sort();
    this.#films.count(this.#queue.counts());
    if (!first || !films[0]) return;
    this.#selection.choose(films[0]);
    this.#view.canvas.focus();
  }

  #clear(): void {
    this.#queue.clear();
    this.#releases.clear();
    this.#pictures.clear();
    this.#selection.choose(null);
    this.#list.sort();
    this.#films.count(this.#queue.counts());
  }

  #told(film: Film): void {
    this.#list.paint(film);
    this.#films.count(this.#queue.counts());
  }

  #judged(film: Film): void {
    this.#told(film);
    if (film.state === "judging") return;
    if (film.state === "rejected") this.#releases.watch(film);
    // Asked for now, while that version still serves.
    if (film.answer) descriptionOf(film.answer.model_version).catch(() => undefined);
    if (film === this.#selection.film) void this.#show(film);
  }

  // What a reviewer has come to reaches the film that waits for it.
  #reviewed(film: Film): void {
    this.#told(film);
    if (film !== this.#selection.film) return;
    if (film.released) this.#panel.show(film);
    else this.#panel.showReview(film);
  }

  #chosen(film: Film | null): void {
    this.#list.choose(film);
    this.#releases.show(film);
    this.#view.show(null);
    if (film) {
      void this.#show(film);
    } else {
      this.#panel.clear();
      this.#view.invite();
    }
  }

  async #show(film: Film): Promise<void> {
    this.#panel.show(film);
    // What cannot be judged cannot be decoded either, and asking again would count the sender's fault twice.
    this.#view.message(film.state === "failed" && film.problem ? film.problem.title : S.film.decoding);
    if (["waiting", "judging", "failed"].includes(film.state)) return;
    try {
      const { pixels, field, sides } = await this.#pictures.of(film);
      if (film === this.#selection.film) this.#view.show(pixels, field, sides);
    } catch (error) {
      if (film === this.#selection.film) this.#view.message(asProblem(error).message);
    }
  }

  async #explain(film: Film, finding: string): Promise<void> {
    this.#selection.chooseFinding(finding);
    if (film.released) {
      this.#view.heatmap(null, S.film.heatmapReleased(readable(finding)));
      return;
    }
    this.#panel.offer(film, finding);
    this.#view.heatmap(null, S.film.heatmapLoading(readable(finding)));
    try {
      const heatmap = await this.#heatmaps.of(film, finding);
      if (!this.#selection.isOn(film, finding)) return;
      this.#view.heatmap(heatmap, captionOf(film, finding, heatmap), isWeak(film, finding));
    } catch (error) {
      if (this.#selection.isOn(film, finding)) this.#view.heatmap(null, asProblem(error).title);
    }
  }

  #takeDrops(body: HTMLElement): void {
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      body.classList.add("dragging");
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) body.classList.remove("dragging");
    });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      body.classList.remove("dragging");
      if (event.dataTransfer) void filmsOfDrop(event.dataTransfer).then((films) => this.#add(films));
    });
  }

  // To the next film or the one before, wherever the focus is, but where letters are written or chosen by.
  #step(event: KeyboardEvent): void {
    const step = { n: 1, N: 1, p: -1, P: -1 }[event.key];
    if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target instanceof Element && event.target.closest("dialog, select, textarea, input[type=password]")) return;
    const next = this.#selection.film && this.#list.after(this.#selection.film, step);
    if (!next) return;
    const fromList = this.#list.element.contains(document.activeElement);
    this.#selection.choose(next);
    // What had the focus in the panel is gone.
    if (fromList) this.#list.focus(next);
    else this.#view.canvas.focus();
  }

  #headPrint(): void {
    const time = new Date().toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" });
    replace(
      this.#printHead,
      h("strong", {}, this.#selection.film?.name ?? ""),
      h("span", {}, `${S.product} · ${S.printed(time)}`),
      h("strong", {}, S.notDevice),
    );
  }
}
