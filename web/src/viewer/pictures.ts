// Films as the service decodes them.
import { post } from "../api.js";
import { fieldOf } from "../field.js";
import type { JudgedField } from "../schemas.js";
import type { Film } from "./film.js";
import { decodePng16, type Pixels } from "./png16.js";
import { type Sides, sidesOf } from "./sides.js";

export interface Picture {
  pixels: Pixels;
  field: JudgedField | null; // where it is not the whole film
  sides: Sides;
}

// The last picture is kept: back and forth between two films is rare, and one may take 20 MB.
export class Pictures {
  readonly #decode: (film: Film) => Promise<Picture>;
  #last: { film: Film; picture: Promise<Picture> } | null = null;

  constructor(decode = decoded) {
    this.#decode = decode;
  }

  of(film: Film): Promise<Picture> {
    if (this.#last?.film === film) return this.#last.picture;
    const last = { film, picture: this.#decode(film) };
    this.#last = last;
    last.picture.catch(() => {
      if (this.#last === last) this.#last = null; // to be asked for again
    });
    return last.picture;
  }

  clear(): void {
    this.#last = null;
  }
}

async function decoded(film: Film): Promise<Picture> {
  const response = await post("/v1/decode", film.file, film.type, "image/png");
  return { field: fieldOf(response), sides: sidesOf(response), pixels: await decodePng16(await response.arrayBuffer()) };
}
