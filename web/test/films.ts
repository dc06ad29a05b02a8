// Films as the page has them, without bytes.
import { type Film, filmOf } from "../src/viewer/film.js";

export const filmNamed = (name: string): Film => filmOf(new File([], name));

export const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

// Work that ends when the test says so.
export interface Held<T = void> {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: Error) => void;
}

export function held<T = void>(): Held<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<T>((yes, no) => {
    [resolve, reject] = [yes, no];
  });
  return { promise, resolve, reject };
}
