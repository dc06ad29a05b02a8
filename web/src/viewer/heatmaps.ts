// Heatmaps of films that were asked for, and what is said beside each.
import { post } from "../api.js";
import { wholeOf } from "../field.js";
import { served } from "../models.js";
import { readable, S } from "../strings.js";
import type { Film } from "./film.js";
import { type Heatmap, heatmapOf } from "./heatmap.js";
import type { Pictures } from "./pictures.js";

type Make = (film: Film, finding: string) => Promise<Heatmap | null>;

// Each is asked for once, for as long as its film is in the list. null: no place stands out.
export class Heatmaps {
  readonly #kept = new WeakMap<Film, Map<string, Promise<Heatmap | null>>>();
  readonly #make: Make;

  constructor(make: Make) {
    this.#make = make;
  }

  of(film: Film, finding: string): Promise<Heatmap | null> {
    const kept = this.#kept.get(film) ?? new Map<string, Promise<Heatmap | null>>();
    this.#kept.set(film, kept);
    const known = kept.get(finding);
    if (known) return known;
    const heatmap = this.#make(film, finding);
    kept.set(finding, heatmap);
    heatmap.catch(() => kept.delete(finding)); // to be asked for again
    return heatmap;
  }
}

export const madeWith =
  (pictures: Pictures): Make =>
  async (film, finding) => {
    const path = `/v1/explain?finding=${encodeURIComponent(finding)}`;
    const response = await post(path, film.file, film.type, "image/png");
    // The answer does not say who made it; that is the version that serves now.
    const version = await served().then((model) => model.model_version, () => null);
    const { pixels, field } = await pictures.of(film);
    if (response.headers.get("X-Heatmap-Localised") === "false") return null;
    return heatmapOf(await response.blob(), field ?? wholeOf(pixels), version);
  };

// Of a finding that is called neither present nor indeterminate.
export const isWeak = (film: Film, finding: string): boolean =>
  ["absent", "not called"].includes(film.answer?.calls?.[finding]?.call ?? "");

export function captionOf(film: Film, finding: string, heatmap: Heatmap | null): string {
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
