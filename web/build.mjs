// src/ -> ../app/http/static/page, which is committed: a machine without Node serves it as it is.
// `node build.mjs FOLDER` writes elsewhere, so that a check can compare.
import { createHash } from "node:crypto";
import { copyFile, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const folder = process.argv[2] ?? "../app/http/static/page";
await mkdir(folder, { recursive: true });
await build({
  entryPoints: ["src/viewer.ts", "src/ops.ts", "src/style.css"],
  outdir: folder,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "none",
  charset: "utf8",
});
for (const page of ["index.html", "ops.html", "icon.svg"]) await copyFile(`src/${page}`, `${folder}/${page}`);

// What it was built from, for a test that needs no Node: tests/http/test_page_files.py.
const digest = createHash("sha256");
const sources = (await readdir("src", { recursive: true, withFileTypes: true }))
  .filter((entry) => entry.isFile())
  .map((entry) => `${entry.parentPath}/${entry.name}`)
  .sort();
for (const source of sources) digest.update(`${source}\0`).update(await readFile(source)).update("\0");
await writeFile(`${folder}/built-from.sha256`, `${digest.digest("hex")}\n`);
