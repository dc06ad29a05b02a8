// Beside the film: what the gate said of it, its findings, its reference, and how to save its result.
import { h, replace } from "../dom.js";
import { S } from "../strings.js";
import type { Film } from "./film.js";
import { findingsPanel } from "./findings.js";
import { saveBox } from "./save.js";
import {
  acceptedVerdict, failedVerdict, referenceBox, rejectedVerdict, releasedVerdict, reviewState, waitingVerdict,
} from "./verdict.js";

export class Panel {
  readonly element = h("section", { class: "panel", "aria-label": S.verdict.panel });
  readonly #explain: (film: Film, finding: string) => void;
  #save: HTMLElement | null = null;

  constructor(explain: (film: Film, finding: string) => void) {
    this.#explain = explain;
    this.clear();
  }

  show(film: Film): void {
    const { answer, problem, released, state } = film;
    if (answer) {
      const findings = findingsPanel(answer, !released, (finding) => this.#explain(film, finding));
      const verdict = released ? releasedVerdict(answer, released) : acceptedVerdict(answer);
      this.#fill(film, verdict, findings, referenceBox(answer.model_version, answer.request_id));
    } else if (problem && state === "rejected") {
      this.#fill(film, rejectedVerdict(problem, film.review), referenceBox(null, problem.requestId));
    } else {
      replace(this.element, problem ? failedVerdict(problem) : waitingVerdict());
    }
  }

  // What its reviewers have come to, of the rejected film on show.
  showReview(film: Film): void {
    this.element.querySelector(".review-state")?.replaceChildren(reviewState(film.review));
  }

  // The heatmap of this finding can be saved too.
  offer(film: Film, finding: string): void {
    const save = saveBox(film, finding);
    this.#save?.replaceWith(save);
    this.#save = save;
  }

  clear(): void {
    replace(this.element, h("p", { class: "small" }, S.verdict.none));
  }

  #fill(film: Film, ...parts: HTMLElement[]): void {
    this.#save = saveBox(film, null);
    replace(this.element, ...parts, this.#save);
  }
}
