// A tab of the console; it asks the service from `start` to `stop`.
import { Problem } from "../api.js";
import { replace } from "../dom.js";
import { problemBox } from "../frame.js";

export interface Section {
  readonly element: HTMLElement;
  start(): Promise<void>;
  stop(): void;
}

// Do something, and show in `place` what the service said against it.
export async function attempt(place: Element, action: () => Promise<void>): Promise<void> {
  replace(place);
  try {
    await action();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    replace(place, problemBox(error));
  }
}
