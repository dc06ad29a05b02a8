// A film of the list, and where the files of a drop come from.
import type { Accepted, Problem } from "../api.js";
import type { Release } from "../schemas.js";

export type FilmState = "waiting" | "judging" | "accepted" | "rejected" | "released" | "failed";

export interface Film {
  readonly file: File;
  readonly name: string; // with its folders
  type: string;
  state: FilmState;
  answer: Accepted | null;
  problem: Problem | null;
  // Of a film that was rejected: what its reviewers have come to; null: not asked yet.
  review: "waiting" | "released" | "confirmed" | "not kept" | null;
  released: Release | null;
}

export const filmOf = (file: File, name = file.webkitRelativePath || file.name): Film => ({
  file,
  name,
  type: "",
  state: "waiting",
  answer: null,
  problem: null,
  review: null,
  released: null,
});

export async function filmsOfDrop(transfer: DataTransfer): Promise<Film[]> {
  // Entries must all be taken before the first await: the list is emptied then.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  if (!entries.length) return [...transfer.files].map((file) => filmOf(file));
  return (await Promise.all(entries.map(filmsOfEntry))).flat();
}

async function filmsOfEntry(entry: FileSystemEntry): Promise<Film[]> {
  if (entry.name.startsWith(".")) return [];
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    return [filmOf(file, entry.fullPath.replace(/^\//, ""))];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const films: Film[] = [];
  for (;;) {
    // A hundred at a time, until there are no more.
    const part = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) return films;
    for (const each of part) films.push(...(await filmsOfEntry(each)));
  }
}
