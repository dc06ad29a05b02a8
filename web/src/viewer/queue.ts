// Films in the order in which they were added, judged a few at a time. It knows no page: who judges, and who hears of it, is given.
import type { Film, FilmState } from "./film.js";

// At once: enough that the service is never idle, few enough that the film on show does not wait long.
export const AT_ONCE = 2;

export interface Parts {
  judge(film: Film): Promise<void>; // gives the film its state, and an answer or a problem
  first(): Film | null; // goes before all others that wait
  changed(film: Film): void; // a film's state did
  finished(): void; // none waits, and none is being judged
}

export type Counts = Record<FilmState, number>;

export class Queue {
  readonly #films: Film[] = [];
  readonly #parts: Parts;
  #judging = 0;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  // The queue's own array, so that who holds it sees what is added and cleared.
  get films(): readonly Film[] {
    return this.#films;
  }

  add(films: readonly Film[]): void {
    this.#films.push(...films);
    this.#judgeNext();
  }

  // Films that are being judged are judged to the end, and nobody hears of them.
  clear(): void {
    this.#films.length = 0;
  }

  counts(): Counts {
    const counts: Counts = { waiting: 0, judging: 0, accepted: 0, rejected: 0, released: 0, failed: 0 };
    for (const film of this.#films) counts[film.state]++;
    return counts;
  }

  #judgeNext(): void {
    while (this.#judging < AT_ONCE) {
      const film = this.#next();
      if (!film) return;
      void this.#judge(film);
    }
  }

  #next(): Film | undefined {
    const first = this.#parts.first();
    return first?.state === "waiting" ? first : this.#films.find((film) => film.state === "waiting");
  }

  async #judge(film: Film): Promise<void> {
    this.#judging++;
    film.state = "judging";
    this.#parts.changed(film);
    await this.#parts.judge(film);
    this.#judging--;
    if (film.problem?.status === 401) this.#giveUp(film.problem);
    if (this.#films.includes(film)) this.#parts.changed(film);
    this.#judgeNext();
    if (!this.#judging) this.#parts.finished();
  }

  // No key was given: it is not asked for again for each film that waits.
  #giveUp(problem: NonNullable<Film["problem"]>): void {
    for (const film of this.#films.filter((each) => each.state === "waiting")) {
      [film.problem, film.state] = [problem, "failed"];
      this.#parts.changed(film);
    }
  }
}
