// The service's API. Answers are taken as docs/openapi.json describes them (schemas.ts); whatever else comes is a Problem.
import { askForKey, currentKey } from "./key.js";
import type * as schemas from "./schemas.js";
import { S } from "./strings.js";

export type Call = schemas.CalledFinding["call"];

// An accepted film's answer. Services before calls leave them out.
export type Accepted = Omit<schemas.Accepted, "calls"> & Partial<Pick<schemas.Accepted, "calls">>;

// RFC 9457, or what stands for it where the service was not reached.
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    readonly type = "",
    readonly requestId = "",
    readonly retryAfter: number | null = null,
  ) {
    super(`${title}: ${detail}`);
  }

  get rejected(): boolean {
    return this.status === 422;
  }
}

export function asProblem(error: unknown): Problem {
  return error instanceof Problem ? error : new Problem(0, S.verdict.failed, String(error));
}

// `asks`: whether a person is asked for a key where the service wants one.
export async function call(path: string, init: RequestInit = {}, asks = true): Promise<Response> {
  for (;;) {
    const key = currentKey();
    const headers = new Headers(init.headers);
    if (key) headers.set("Authorization", `Bearer ${key}`);
    let response: Response;
    try {
      response = await fetch(path, { ...init, headers, cache: "no-store" });
    } catch {
      throw new Problem(0, S.unreachable, S.unreachableDetail);
    }
    // The report of a rejected film is DICOM with 422, as its verdict is.
    if (response.ok || response.headers.get("Content-Type")?.startsWith("application/dicom")) return response;
    const problem = await problemOf(response);
    if (problem.status !== 401 || !asks) throw problem;
    if (!(await askForKey(key, key ? problem.detail : ""))) throw problem;
  }
}

export async function json<T>(path: string, init?: RequestInit): Promise<T> {
  return (await (await call(path, init)).json()) as T;
}

async function problemOf(response: Response): Promise<Problem> {
  const retry = Number(response.headers.get("Retry-After") ?? Number.NaN);
  const requestId = response.headers.get("X-Request-ID") ?? "";
  try {
    const body = (await response.json()) as schemas.ProblemBody;
    return new Problem(response.status, body.title, body.detail, body.type, body.request_id, Number.isNaN(retry) ? null : retry);
  } catch {
    return new Problem(response.status, `${response.status} ${response.statusText}`, "", "", requestId);
  }
}

// What the bytes are, by their signature; the service checks, and says what it cannot read.
export async function mediaType(file: Blob): Promise<string> {
  const head = new Uint8Array(await file.slice(0, 8).arrayBuffer());
  if (head[0] === 0x89 && head[1] === 0x50) return "image/png";
  if (head[0] === 0xff && head[1] === 0xd8) return "image/jpeg";
  return "application/dicom";
}

const MOST_TRIES = 6;

// Post a film, and wait where the service says that it is overloaded.
export async function post(path: string, file: Blob, type: string, accept: string): Promise<Response> {
  for (let tries = 1; ; tries++) {
    try {
      return await call(path, { method: "POST", body: file, headers: { "Content-Type": type, Accept: accept } });
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 503 || tries === MOST_TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(10, error.retryAfter ?? 2)));
    }
  }
}
