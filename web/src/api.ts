// The service's API. Answers are taken as docs/ describes them; whatever else comes is a Problem.
import { askForKey, currentKey } from "./key.js";
import { S } from "./strings.js";

// What /v1/model says of a finding: how good its calls were on held-out films. null: too few of them to say.
export interface Finding {
  name: string;
  prevalence: number;
  present_from: number | null;
  absent_below: number | null;
  specificity: number | null;
  specificity_lower_bound: number | null;
  sensitivity: number | null;
  missed: number | null;
  held_out_positives: number;
  held_out_negatives: number;
  auroc: number | null;
}

export interface Model {
  model_version: string;
  findings: Finding[];
  gate: { target_false_rejection_rate: number; calibration_n: number };
}

export type Call = "present" | "indeterminate" | "absent" | "not called";

export interface Called {
  call: Call;
  present_from: number | null;
  absent_below: number | null;
  percentile: number | null;
}

export interface Accepted {
  request_id: string;
  model_version: string;
  probabilities: Record<string, number>;
  calls?: Record<string, Called>; // services before calls leave them out
  source_kind: string;
  notes: string[];
}

// What an accepted film is answered, of one that was rejected and that a reviewer released since.
export interface Released extends Accepted {
  released: { by: string; reason: string; time: string };
}

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
    const body = (await response.json()) as { title: string; detail: string; type: string; request_id: string };
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
