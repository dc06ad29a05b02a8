// A film -> what the service says of it.
import { type Accepted, asProblem, mediaType, post } from "../api.js";
import type { Film } from "./film.js";

export async function judge(film: Film): Promise<void> {
  try {
    film.type = await mediaType(film.file);
    const response = await post("/v1/score", film.file, film.type, "application/json");
    film.answer = (await response.json()) as Accepted;
    film.state = "accepted";
  } catch (error) {
    film.problem = asProblem(error);
    film.state = film.problem.rejected ? "rejected" : "failed";
  }
}
