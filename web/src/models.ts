// What versions say of themselves. A version is described by /v1/model while it serves, so each is kept: an answer is explained by
// its own version or by none, also after a promotion.
import { json } from "./api.js";
import type { ModelDescription } from "./schemas.js";

const told = new Map<string, ModelDescription>();
const listeners: ((model: ModelDescription) => void)[] = [];

// Hear of the version that serves, whenever it is asked for.
export function whenServed(listener: (model: ModelDescription) => void): void {
  listeners.push(listener);
}

// The version that serves now.
export async function served(): Promise<ModelDescription> {
  const model = await json<ModelDescription>("/v1/model");
  told.set(model.model_version, model);
  for (const listener of listeners) listener(model);
  return model;
}

// null: the service describes another version now.
export async function descriptionOf(version: string): Promise<ModelDescription | null> {
  if (!told.has(version)) await served();
  return told.get(version) ?? null;
}
