// A film's result as DICOM, for the archive: the report, and a finding's heatmap.
import { asProblem, post } from "../api.js";
import { h, replace, save } from "../dom.js";
import { problemBox } from "../frame.js";
import { S } from "../strings.js";
import type { Film } from "./film.js";

const DICOM = "application/dicom";

// Only a DICOM film has a report. One that was released has none of its release: the service judges it anew, and rejects it.
export function saveBox(film: Film, finding: string | null): HTMLElement {
  const problem = h("div", {});
  const stem = film.name.replace(/^.*\//, "").replace(/\.[^.]*$/, "");
  const saving = (text: string, path: string, name: string): HTMLElement => {
    const button = h("button", { type: "button", onclick: () => void keep() }, text);
    const keep = async (): Promise<void> => {
      button.disabled = true;
      replace(problem);
      try {
        save(name, await reportOf(film, path));
      } catch (error) {
        replace(problem, problemBox(asProblem(error)));
      }
      button.disabled = false;
    };
    return button;
  };
  return h(
    "div",
    { class: "save", hidden: film.type !== DICOM || film.released !== null },
    h("h3", {}, S.report.title),
    h(
      "div",
      { class: "actions" },
      saving(S.report.sr, "/v1/score", `${stem}-report.dcm`),
      finding && saving(S.report.capture, `/v1/explain?finding=${encodeURIComponent(finding)}`, `${stem}-${finding}.dcm`),
    ),
    problem,
  );
}

async function reportOf(film: Film, path: string): Promise<Blob> {
  return (await post(path, film.file, film.type, DICOM)).blob();
}
