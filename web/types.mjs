// ../docs/openapi.json -> src/schemas.ts: the types of what the API answers. Only shapes count: words, bounds and examples are left
// out, so a change of prose needs no new file. tests/http/test_page_files.py sees, without Node, whether the two still agree.
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";

const SHAPE = new Set([
  "$ref", "additionalProperties", "allOf", "anyOf", "const", "enum", "items", "maxItems", "minItems", "oneOf", "prefixItems",
  "properties", "required", "type",
]);

function shapeOf(schema) {
  if (Array.isArray(schema)) return schema.map(shapeOf);
  if (typeof schema !== "object" || schema === null) return schema;
  const kept = sorted(schema).filter(([key]) => SHAPE.has(key));
  return Object.fromEntries(kept.map(([key, value]) => [key, key === "properties" ? shapesOf(value) : shapeOf(value)]));
}

// By name, whatever the names are: a property may be called "title".
const shapesOf = (schemas) => Object.fromEntries(sorted(schemas).map(([name, schema]) => [name, shapeOf(schema)]));

const sorted = (object) => Object.entries(object).sort(([one], [other]) => (one < other ? -1 : 1));

const document = JSON.parse(await readFile("../docs/openapi.json", "utf8"));
const schemas = shapesOf(document.components.schemas);
const digest = createHash("sha256").update(JSON.stringify(schemas)).digest("hex");
const openapi = { openapi: document.openapi, info: { title: "", version: "" }, paths: {}, components: { schemas } };
const types = await openapiTS(openapi, { rootTypes: true, rootTypesNoSchemaPrefix: true });
await writeFile("src/schemas.ts", `// Written by \`npm run types\` from docs/openapi.json.\n// Shapes: ${digest}\n${astToString(types)}`);
