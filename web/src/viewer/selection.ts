// What is looked at: a film, and the finding whose evidence lies over it.
import type { Film } from "./film.js";

export class Selection {
  #film: Film | null = null;
  #finding: string | null = null;
  readonly #changed: (film: Film | null) => void;

  constructor(changed: (film: Film | null) => void) {
    this.#changed = changed;
  }

  get film(): Film | null {
    return this.#film;
  }

  choose(film: Film | null): void {
    if (film === this.#film) return;
    [this.#film, this.#finding] = [film, null];
    this.#changed(film);
  }

  // Of the film that is looked at.
  chooseFinding(finding: string): void {
    this.#finding = finding;
  }

  // Whether what was asked for some time ago is still wanted.
  isOn(film: Film, finding: string): boolean {
    return film === this.#film && finding === this.#finding;
  }
}
