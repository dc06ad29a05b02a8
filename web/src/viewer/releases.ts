// Whether a reviewer has released a film that the gate rejected. The page asks for it rarely, and only while somebody may look:
// the film on show first, one film at a time, each less and less often.
import { call, Problem } from "../api.js";
import type { ReleasedResult } from "../schemas.js";
import type { Film } from "./film.js";

const FIRST_SECONDS = 1; // by then the film is kept, or it is not
const SHORTEST_SECONDS = 15;
const LONGEST_SECONDS = 300;
const GROWTH = 1.5;
// Between two questions, whatever the films: each takes one of the caller's quota.
const GAP_SECONDS = 5;

interface Asked {
  due: number; // performance.now()
  wait: number; // seconds, after the next question
}

export class Releases {
  readonly #asked = new Map<Film, Asked>();
  readonly #changed: (film: Film) => void;
  #shown: Film | null = null;
  #pausedUntil = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asking = false;

  constructor(changed: (film: Film) => void) {
    this.#changed = changed;
    document.addEventListener("visibilitychange", () => this.#plan());
  }

  watch(film: Film): void {
    this.#asked.set(film, { due: performance.now() + 1000 * FIRST_SECONDS, wait: SHORTEST_SECONDS });
    this.#plan();
  }

  // The film that is looked at is asked for soon, and from then on as one that was rejected just now.
  show(film: Film | null): void {
    this.#shown = film;
    const asked = film && this.#asked.get(film);
    if (!asked) return;
    asked.due = Math.min(asked.due, performance.now() + 1000 * FIRST_SECONDS);
    asked.wait = SHORTEST_SECONDS;
    this.#plan();
  }

  clear(): void {
    this.#asked.clear();
    this.#shown = null;
  }

  #plan(): void {
    clearTimeout(this.#timer);
    if (this.#asking || document.visibilityState !== "visible" || !this.#asked.size) return;
    const next = Math.min(...[...this.#asked.values()].map(({ due }) => due));
    const wait = Math.max(next, this.#pausedUntil) - performance.now();
    this.#timer = setTimeout(() => void this.#askNext(), Math.max(0, wait));
  }

  async #askNext(): Promise<void> {
    const now = performance.now();
    const due = [...this.#asked].filter((each) => each[1].due <= now).sort((one, other) => one[1].due - other[1].due);
    const [film, asked] = due.find((each) => each[0] === this.#shown) ?? due[0] ?? [];
    if (film && asked) {
      this.#asking = true;
      await this.#ask(film, asked);
      this.#asking = false;
    }
    this.#plan();
  }

  async #ask(film: Film, asked: Asked): Promise<void> {
    this.#pausedUntil = performance.now() + 1000 * GAP_SECONDS;
    asked.due = performance.now() + 1000 * asked.wait;
    asked.wait = Math.min(LONGEST_SECONDS, asked.wait * GROWTH);
    try {
      const path = `/v1/results/${encodeURIComponent(film.problem?.requestId ?? "")}`;
      // Nobody is asked for a key by a question that nobody put.
      const answer = (await (await call(path, {}, false)).json()) as ReleasedResult;
      this.#decided(film, "released", answer);
    } catch (error) {
      if (!(error instanceof Problem)) return; // no answer of the service: later
      if (error.status === 409) this.#decided(film, "waiting");
      else if (error.status === 410) this.#decided(film, "confirmed");
      else if (error.status === 404) this.#decided(film, "not kept");
      else if (error.status === 401 || error.status === 403) this.#asked.delete(film);
      else if (error.retryAfter !== null) this.#pausedUntil = performance.now() + 1000 * Math.max(GAP_SECONDS, error.retryAfter);
    }
  }

  #decided(film: Film, review: NonNullable<Film["review"]>, answer: ReleasedResult | null = null): void {
    if (review !== "waiting") this.#asked.delete(film);
    if (film.review === review) return;
    film.review = review;
    if (answer) [film.answer, film.released, film.problem, film.state] = [answer, answer.released, null, "released"];
    this.#changed(film);
  }
}
