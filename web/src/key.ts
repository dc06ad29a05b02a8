// The caller's key, asked for when the service wants one. It is kept in sessionStorage alone: it lives as long as the tab, is not
// shared with other tabs, is not written to a profile that outlives the session on a shared workstation, and is sent with no
// request but those that this code makes, which a cookie would be.
import { h, replace } from "./dom.js";
import { S } from "./strings.js";

const NAME = "cxr-gate-key";

export const currentKey = (): string | null => sessionStorage.getItem(NAME);

let asking: Promise<boolean> | null = null;

// Ask for another key than the one that was refused; false where the person gives none. Many callers share one question.
export function askForKey(refused: string | null, why: string): Promise<boolean> {
  if (currentKey() !== refused) return Promise.resolve(true);
  asking ??= ask(why).finally(() => (asking = null));
  return asking;
}

export function ask(why = ""): Promise<boolean> {
  return new Promise((resolve) => {
    const input = h("input", { type: "password", id: "key", autocomplete: "off", spellcheck: "false", required: true });
    const problem = h("p", { class: "problem", role: "alert" });
    replace(problem, why);
    problem.hidden = !why;
    const forget = (): void => {
      sessionStorage.removeItem(NAME);
      dialog.close("");
    };
    const dialog = h(
      "dialog",
      { "aria-labelledby": "key-title", onclose: () => end() },
      h(
        "form",
        {
          onsubmit: (event: SubmitEvent) => {
            event.preventDefault();
            sessionStorage.setItem(NAME, input.value.trim());
            dialog.close("given");
          },
        },
        h("h2", { id: "key-title" }, S.key.title),
        h("p", {}, S.key.why),
        problem,
        h("label", { for: "key" }, S.key.label),
        input,
        h(
          "div",
          { class: "actions" },
          currentKey() && h("button", { type: "button", onclick: forget }, S.key.forget),
          h("button", { type: "button", onclick: () => dialog.close("") }, S.key.cancel),
          h("button", { type: "submit", class: "primary" }, S.key.enter),
        ),
      ),
    );
    const end = (): void => {
      dialog.remove();
      resolve(dialog.returnValue === "given");
    };
    document.body.append(dialog);
    dialog.showModal();
  });
}
