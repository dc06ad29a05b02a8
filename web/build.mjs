// src/ -> ../app/http/static/page, which is committed: a machine without Node serves it as it is.
// `node build.mjs FOLDER` writes elsewhere, so that a check can compare.
import { copyFile, mkdir } from "node:fs/promises";
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
