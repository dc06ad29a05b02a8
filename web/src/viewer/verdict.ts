// What the gate said of a film, in plain words, and by which version and under which reference.
import type { Accepted, Problem } from "../api.js";
import { copy, h, replace } from "../dom.js";
import { problemBox } from "../frame.js";
import type { Release } from "../schemas.js";
import { S } from "../strings.js";
import type { Film } from "./film.js";

const headed = (kind: string, title: string, ...more: (Node | null)[]): HTMLElement =>
  h("div", { class: `verdict ${kind}`, role: "status" }, h("h2", {}, title), ...more);

export const waitingVerdict = (): HTMLElement =>
  headed("waiting", S.verdict.waiting, h("p", {}, S.verdict.waitingDetail));

export const acceptedVerdict = (answer: Accepted): HTMLElement =>
  headed(
    "accepted",
    S.verdict.accepted,
    h("p", {}, S.verdict.acceptedDetail),
    notesOf(answer),
  );

const notesOf = ({ notes }: Accepted): HTMLElement | null =>
  notes.length ? h("details", {}, h("summary", {}, S.verdict.notes), h("ul", {}, ...notes.map((note) => h("li", {}, note)))) : null;

// By a person, with a reason; that the gate rejected it stays said.
export const releasedVerdict = (answer: Accepted, { by, reason, time }: Release): HTMLElement =>
  headed(
    "released",
    S.verdict.released,
    h("p", {}, S.verdict.releasedBy(by, timeOf(time))),
    h("blockquote", {}, reason),
    h("p", {}, S.verdict.releasedDetail),
    notesOf(answer),
  );

const timeOf = (time: string): string => {
  const read = new Date(time);
  return Number.isNaN(read.valueOf()) ? time : read.toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" });
};

export const reviewState = (review: Film["review"]): string =>
  review === "released" ? S.verdict.released : S.verdict.review[review ?? "unknown"];

export const rejectedVerdict = (problem: Problem, review: Film["review"]): HTMLElement =>
  headed(
    "rejected",
    S.verdict.rejected,
    h("p", {}, h("strong", {}, S.verdict.noProbabilities)),
    h("h3", {}, S.verdict.why),
    h("p", {}, S.verdict.rejectedWhy),
    h("h3", {}, S.verdict.next),
    h("ol", {}, ...S.verdict.rejectedNext.map((step) => h("li", {}, step))),
    h("p", { class: "review-state" }, reviewState(review)),
    h("details", {}, h("summary", {}, S.verdict.serviceSays), problemBox(problem)),
  );

export const failedVerdict = (problem: Problem): HTMLElement => headed("failed", S.verdict.failed, problemBox(problem));

export function referenceBox(version: string | null, requestId: string): HTMLElement {
  const id = h("code", {}, requestId);
  const said = h("span", { class: "small", role: "status" });
  const copyId = async (): Promise<void> => replace(said, (await copy(id)) ? S.copied : S.notCopied);
  return h(
    "div",
    { class: "foot-box" },
    version && h("p", { class: "reference" }, S.answeredBy(version)),
    requestId && h("p", { class: "reference" }, `${S.referenceIs} `, id),
    h(
      "div",
      { class: "actions" },
      requestId && h("button", { type: "button", onclick: () => void copyId() }, S.copy),
      h("button", { type: "button", onclick: () => window.print() }, S.print),
      said,
    ),
  );
}
