// Results -> files. Names of films stay on this machine: they are in the CSV, and in nothing that is sent.
import { S } from "../strings.js";
import type { Film } from "./film.js";

// Of each finding, after the probabilities: a column each, named as in an answer.
const CALLED = ["call", "present_from", "absent_below", "percentile"] as const;

// A spreadsheet takes what begins with these for a formula.
const FORMULA = /^[=+\-@\t\r]/;

function cell(value: string | number): string {
  const text = typeof value === "string" && FORMULA.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function csvOf(films: readonly Film[]): string {
  const labels = [...new Set(films.flatMap((film) => Object.keys(film.answer?.probabilities ?? {})))];
  const lines = films.map(({ name, state, answer, problem }) => [
    name,
    state,
    answer?.request_id ?? problem?.requestId ?? "",
    answer?.model_version ?? "",
    answer?.source_kind ?? "",
    problem?.title ?? "",
    problem?.detail ?? "",
    ...labels.map((label) => answer?.probabilities[label] ?? ""),
    ...labels.flatMap((label) => CALLED.map((field) => answer?.calls?.[label]?.[field] ?? "")),
  ]);
  const heads = labels.flatMap((label) => CALLED.map((field) => `${label}_${field}`));
  return [[...S.csv, ...labels, ...heads], ...lines].map((line) => line.map(cell).join(",") + "\r\n").join("");
}
