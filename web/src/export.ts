// Results -> files. Names of films stay on this machine: they are in the CSV, and in nothing that is sent.
import type { Film } from "./film.js";
import { S } from "./strings.js";

// A spreadsheet takes what begins with these for a formula.
const FORMULA = /^[=+\-@\t\r]/;

function cell(value: string | number): string {
  const text = typeof value === "string" && FORMULA.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function csvOf(films: readonly Film[], labels: readonly string[]): string {
  const lines = films.map((film) => [
    film.name,
    film.state,
    film.answer?.request_id ?? film.problem?.requestId ?? "",
    film.answer?.model_version ?? "",
    film.answer?.source_kind ?? "",
    film.problem?.title ?? "",
    film.problem?.detail ?? "",
    ...labels.map((label) => film.answer?.probabilities[label] ?? ""),
  ]);
  return [[...S.csv, ...labels], ...lines].map((line) => line.map(cell).join(",") + "\r\n").join("");
}
