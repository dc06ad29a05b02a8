// What versions say of themselves. A version is described by /v1/model while it serves, so each is kept: an answer is explained by
// its own version or by none, also after a promotion.
import { json, type Model } from "./api.js";

const told = new Map<string, Model>();

// null: the service describes another version now.
export async function descriptionOf(version: string): Promise<Model | null> {
  if (!told.has(version)) {
    const model = await json<Model>("/v1/model");
    told.set(model.model_version, model);
  }
  return told.get(version) ?? null;
}
