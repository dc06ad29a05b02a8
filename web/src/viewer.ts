// The viewer: films are dropped, judged two at a time, and looked at.
import { type Accepted, asProblem, mediaType, post, type Problem } from "./api.js";
import { h, replace, save } from "./dom.js";
import { csvOf } from "./export.js";
import { type Film, filmOf, filmsOfDrop } from "./film.js";
import { type ExposedField, fieldOf, wholeOf } from "./field.js";
import { FilmView } from "./film-view.js";
import { findingsPanel } from "./findings.js";
import { bar } from "./frame.js";
import { type Heatmap, heatmapOf } from "./heatmap.js";
import { FilmList } from "./list.js";
import { descriptionOf, served } from "./models.js";
import { decodePng16, type Pixels } from "./png16.js";
import { Releases } from "./releases.js";
import { saveBox } from "./save.js";
import { type Sides, sidesOf } from "./sides.js";
import { readable, S } from "./strings.js";
import {
  acceptedVerdict, failedVerdict, referenceBox, rejectedVerdict, releasedVerdict, reviewState, waitingVerdict,
} from "./verdict.js";

// At once: enough that the service is never idle, few enough that the film on show does not wait long.
const AT_ONCE = 2;

let chosen: Film | null = null;
let judging = 0;

const view = new FilmView();
const panel = h("section", { class: "panel", "aria-label": S.verdict.panel });
const list = new FilmList(choose);
const { films } = list;
const releases = new Releases(reviewed);
const progress = h("progress", { max: 1, value: 0, "aria-label": S.list.title });
const summary = h("p", { class: "small", role: "status" });
const saveCsv = h("button", { type: "button", disabled: true, onclick: exportCsv }, S.list.csv);
const clear = h("button", { type: "button", disabled: true, onclick: clearList }, S.list.clear);
const printHead = h("header", { class: "print-only" });

function add(added: Film[]): void {
  const first = films.length === 0;
  list.add(added);
  if (first && films[0]) {
    choose(films[0]);
    view.canvas.focus();
  }
  count();
  void judgeNext();
}

function count(): void {
  const of = (state: Film["state"]): number => films.filter((film) => film.state === state).length;
  const [accepted, rejected, released, failed] = [of("accepted"), of("rejected"), of("released"), of("failed")];
  const done = accepted + rejected + released + failed;
  progress.max = films.length || 1;
  progress.value = done;
  progress.hidden = done === films.length;
  replace(
    summary,
    films.length ? `${S.list.progress(done, films.length)}: ${S.list.summary(accepted, rejected, released, failed)}.` : null,
  );
  clear.disabled = films.length === 0;
  saveCsv.disabled = done === 0;
  document.body.classList.toggle("empty", films.length === 0);
}

async function judgeNext(): Promise<void> {
  // The film on show goes first.
  const film = chosen?.state === "waiting" ? chosen : films.find((each) => each.state === "waiting");
  if (!film || judging >= AT_ONCE) return;
  judging++;
  film.state = "judging";
  list.paint(film);
  void judgeNext();
  try {
    film.type = await mediaType(film.file);
    const response = await post("/v1/score", film.file, film.type, "application/json");
    film.answer = (await response.json()) as Accepted;
    film.state = "accepted";
    // Asked for now, while that version still serves.
    descriptionOf(film.answer.model_version).catch(() => undefined);
  } catch (error) {
    film.problem = asProblem(error);
    film.state = film.problem.rejected ? "rejected" : "failed";
    if (film.problem.rejected) releases.watch(film);
    if (film.problem.status === 401) giveUp(film.problem);
  }
  judging--;
  list.paint(film);
  if (!judging && !films.some((each) => each.state === "waiting")) list.sort();
  count();
  if (film === chosen) void show(film);
  void judgeNext();
}

// What a reviewer has come to reaches the film that waits for it.
function reviewed(film: Film): void {
  list.paint(film);
  count();
  if (film !== chosen) return;
  if (film.released) showAnswer(film);
  else panel.querySelector(".review-state")?.replaceChildren(reviewState(film.review));
}

// No key was given: the others are not asked for again, one by one.
function giveUp(problem: Problem): void {
  for (const film of films.filter((each) => each.state === "waiting")) {
    [film.problem, film.state] = [problem, "failed"];
    list.paint(film);
  }
}

function choose(film: Film): void {
  if (film === chosen) return;
  chosen = film;
  list.choose(film);
  releases.show(film);
  view.show(null);
  void show(film);
}

async function show(film: Film): Promise<void> {
  if (film.state === "waiting" || film.state === "judging") {
    replace(panel, waitingVerdict());
    view.message(S.film.decoding);
    return;
  }
  if (film.state === "failed" && film.problem) {
    // What cannot be judged cannot be decoded either, and asking again would count the sender's fault twice.
    replace(panel, failedVerdict(film.problem));
    view.message(film.problem.title);
    return;
  }
  showAnswer(film);
  view.message(S.film.decoding);
  try {
    const { pixels, field, sides } = await decoded(film);
    if (film === chosen) view.show(pixels, field, sides);
  } catch (error) {
    if (film === chosen) view.message(asProblem(error).message);
  }
}

function showAnswer(film: Film): void {
  if (film.problem) {
    const { problem, review } = film;
    replace(panel, rejectedVerdict(problem, review), referenceBox(null, problem.requestId), saveBox(film, null));
  }
  if (film.answer) {
    const { model_version, request_id } = film.answer;
    replace(
      panel,
      film.released ? releasedVerdict(film.answer, film.released) : acceptedVerdict(film.answer),
      findingsPanel(film.answer, !film.released, (name) => void explain(film, name)),
      referenceBox(model_version, request_id),
      saveBox(film, null),
    );
  }
}

// The last film that was decoded: back and forth between two films is rare, and one may take 20 MB.
let last: { film: Film; picture: Promise<Picture> } | null = null;

interface Picture {
  pixels: Pixels;
  field: ExposedField | null;
  sides: Sides;
}

function decoded(film: Film): Promise<Picture> {
  if (last?.film !== film) {
    const picture = pictureOf(film);
    picture.catch(() => (last = null));
    last = { film, picture };
  }
  return last.picture;
}

async function pictureOf(film: Film): Promise<Picture> {
  const response = await post("/v1/decode", film.file, film.type, "image/png");
  return { field: fieldOf(response), sides: sidesOf(response), pixels: await decodePng16(await response.arrayBuffer()) };
}

const heatmaps = new WeakMap<Film, Map<string, Heatmap | null>>();
let wanted = "";

async function explain(film: Film, finding: string): Promise<void> {
  wanted = finding;
  if (film.released) {
    view.heatmap(null, S.film.heatmapReleased(readable(finding)));
    return;
  }
  const kept = heatmaps.get(film) ?? new Map<string, Heatmap | null>();
  heatmaps.set(film, kept);
  panel.lastElementChild?.replaceWith(saveBox(film, finding));
  try {
    if (!kept.has(finding)) {
      view.heatmap(null, S.film.heatmapLoading(readable(finding)));
      const path = `/v1/explain?finding=${encodeURIComponent(finding)}`;
      const response = await post(path, film.file, film.type, "image/png");
      // The answer does not say who made it; that is the version that serves now.
      const version = await served().then((model) => model.model_version, () => null);
      const { pixels, field } = await decoded(film);
      const localised = response.headers.get("X-Heatmap-Localised") !== "false";
      kept.set(finding, localised ? await heatmapOf(await response.blob(), field ?? wholeOf(pixels), version) : null);
    }
    const heatmap = kept.get(finding) ?? null;
    if (film === chosen && wanted === finding) view.heatmap(heatmap, captionOf(film, finding, heatmap), isWeak(film, finding));
  } catch (error) {
    if (film === chosen) view.heatmap(null, asProblem(error).title);
  }
}

const isWeak = (film: Film, finding: string): boolean =>
  ["absent", "not called"].includes(film.answer?.calls?.[finding]?.call ?? "");

function captionOf(film: Film, finding: string, heatmap: Heatmap | null): string {
  if (!heatmap) return S.film.heatmapEmpty(readable(finding));
  const call = film.answer?.calls?.[finding]?.call;
  const other = heatmap.version && heatmap.version !== film.answer?.model_version;
  return [
    S.film.heatmapOf(readable(finding)),
    call && isWeak(film, finding) && S.film.heatmapWeak(S.calls.name[call].toLowerCase()),
    other && S.film.heatmapOtherVersion,
  ]
    .filter(Boolean)
    .join(". ");
}

function exportCsv(): void {
  save("films.csv", new Blob([csvOf(films)], { type: "text/csv" }));
}

function clearList(): void {
  list.clear();
  releases.clear();
  chosen = null;
  last = null;
  replace(panel);
  view.show(null);
  view.message(S.film.hint);
  count();
}

function chooser(text: string, folder: boolean): HTMLElement {
  const input = h("input", {
    type: "file",
    multiple: true,
    hidden: true,
    webkitdirectory: folder,
    "aria-label": text,
    onchange: () => {
      add([...(input.files ?? [])].filter((file) => !file.name.startsWith(".")).map((file) => filmOf(file)));
      input.value = "";
    },
  });
  return h("span", {}, input, h("button", { type: "button", onclick: () => input.click() }, text));
}

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  if (event.dataTransfer) void filmsOfDrop(event.dataTransfer).then(add);
});

// Wherever the focus is, but where letters are written or chosen by.
document.addEventListener("keydown", (event) => {
  const step = { n: 1, N: 1, p: -1, P: -1 }[event.key];
  if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target instanceof Element && event.target.closest("dialog, select, textarea, input[type=password]")) return;
  const next = chosen && list.after(chosen, step);
  if (!next) return;
  const fromList = list.element.contains(document.activeElement);
  choose(next);
  // What had the focus in the panel is gone.
  if (fromList) list.focus(next);
  else view.canvas.focus();
});

window.addEventListener("beforeprint", () =>
  replace(
    printHead,
    h("strong", {}, chosen?.name ?? ""),
    h("span", {}, `${S.product} · ${S.printed(new Date().toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" }))}`),
    h("strong", {}, S.notDevice),
  ),
);

document.body.append(
  bar("viewer", () => undefined),
  printHead,
  h(
    "main",
    {},
    h(
      "section",
      { class: "films", "aria-label": S.list.title },
      h("h1", {}, S.list.title),
      h("div", { class: "actions" }, chooser(S.list.choose, false), chooser(S.list.folder, true)),
      h("div", { class: "invitation" }, h("strong", {}, S.list.drop), h("p", {}, S.list.dropMore)),
      progress,
      summary,
      list.sorter,
      list.element,
      h("p", { class: "small foot" }, S.list.keys),
      h("div", { class: "actions foot" }, saveCsv, clear),
    ),
    view.element,
    panel,
  ),
);
count();
