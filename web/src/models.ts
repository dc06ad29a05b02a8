// What versions say of themselves. A version is described by /v1/model while it serves, so each is kept: an answer is explained by
// its own version or by none, also after a promotion.
import { json, type Model } from "./api.js";

const told = new Map<string, Model>();
const listeners: ((model: Model) => void)[] = [];

// Hear of the version that serves, whenever it is asked for.
export function whenServed(listener: (model: Model) => void): void {
  listeners.push(listener);
}

// The version that serves now.
export async function served(): Promise<Model> {
  const model = await json<Model>("/v1/model");
  told.set(model.model_version, model);
  for (const listener of listeners) listener(model);
  return model;
}

// null: the service describes another version now.
export async function descriptionOf(version: string): Promise<Model | null> {
  if (!told.has(version)) await served();
  return told.get(version) ?? null;
}
