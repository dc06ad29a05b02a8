// What the service does now, from /metrics: no number here that Prometheus would not have.
import { call, json, Problem } from "../api.js";
import { h, replace, svg } from "../dom.js";
import { problemBox } from "../frame.js";
import type { ModelDescription } from "../schemas.js";
import { percent, S } from "../strings.js";
import type { Section } from "./section.js";
import { buckets, countOf, interval, less, parse, quantile, type Sample, total } from "./scrape.js";

const EVERY_MS = 5_000;
const WINDOW_MS = 15 * 60_000;
const FEWEST = 20; // films, from which a share is compared with the band

interface Scrape {
  time: number;
  version: string;
  samples: Sample[];
}

const L = S.live;

export function liveSection(): Section {
  const cards = h("div", { class: "cards" });
  const updated = h("p", { class: "small" });
  const element = h("div", {}, cards, updated);
  let scrapes: Scrape[] = [];
  let timer = 0;

  async function refresh(): Promise<void> {
    try {
      const [model, text] = await Promise.all([
        json<ModelDescription>("/v1/model"),
        call("/metrics").then((response) => response.text()),
      ]);
      const now = { time: Date.now(), version: model.model_version, samples: parse(text) };
      const before = scrapes.at(-1);
      // Counters begin anew with the process, and with another version there is nothing to compare with.
      if (before && (before.version !== now.version || films(now).all < films(before).all)) scrapes = [];
      scrapes = [...scrapes.filter((each) => each.time > now.time - WINDOW_MS), now];
      replace(cards, ...cardsOf(scrapes, now));
      replace(updated, S.ops.updated(new Date(now.time).toLocaleTimeString("en-GB")));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      replace(cards, problemBox(error));
      if (error.status === 401) window.clearInterval(timer); // no key was given: not asked for again every 5 s
    }
  }

  const tick = (): void => {
    if (!document.hidden) void refresh();
  };
  return {
    element,
    start: async () => {
      window.clearInterval(timer);
      timer = window.setInterval(tick, EVERY_MS);
      await refresh();
    },
    stop: () => window.clearInterval(timer),
  };
}

function films(scrape: Scrape): { rejected: number; all: number } {
  const of = (decision: string): number =>
    total(scrape.samples, "cxr_decisions_total", { decision, model_version: scrape.version });
  const rejected = of("rejected");
  return { rejected, all: rejected + of("accepted") };
}

function grown(now: Scrape, then: Scrape): { rejected: number; all: number } {
  const [one, other] = [films(now), films(then)];
  return { rejected: one.rejected - other.rejected, all: one.all - other.all };
}

function cardsOf(scrapes: Scrape[], now: Scrape): HTMLElement[] {
  return [rejectionCard(scrapes, now), scoresCard(now), latencyCard(scrapes, now), queueCard(now), stateCard(now)];
}

function rejectionCard(scrapes: Scrape[], now: Scrape): HTMLElement {
  const labels = { model_version: now.version };
  const low = total(now.samples, "cxr_false_rejection_lower_ratio", labels);
  const high = total(now.samples, "cxr_false_rejection_upper_ratio", labels);
  const whole = films(now);
  const first = scrapes[0] ?? now;
  const recent = grown(now, first);
  const minutes = Math.floor((now.time - first.time) / 60_000);
  const line = (name: string, part: { rejected: number; all: number }): HTMLElement[] => [
    h("dt", {}, name),
    h("dd", {}, part.all ? `${percent(part.rejected / part.all, 1)} (${L.ofFilms(part.rejected, part.all)})` : L.tooFew),
  ];
  const judged = recent.all >= FEWEST ? recent : whole;
  const [word, tone] = standing(judged, low, high);
  const share = judged.all ? judged.rejected / judged.all : null;
  return h(
    "section",
    { class: "card", "data-card": "rejection" },
    h("h2", {}, L.rejection),
    h("p", { class: "figure" }, share === null ? L.no : percent(share, 1)),
    h("p", { class: `state-${tone}` }, word),
    bandPlot(share, low, high),
    h("p", { class: "small" }, L.band(low, high)),
    h("dl", {}, ...line(L.recent(minutes), recent), ...line(L.sinceStart, whole)),
    trendPlot(scrapes, low, high),
  );
}

function standing(part: { rejected: number; all: number }, low: number, high: number): [string, string] {
  if (part.all < FEWEST) return [L.unsure, "warn"];
  const [least, most] = interval(part.rejected, part.all);
  if (least > high) return [L.above, "bad"];
  if (most < low) return [L.below, "warn"];
  return [L.inside, "good"];
}

function bandPlot(share: number | null, low: number, high: number): Element {
  const most = Math.min(1, Math.max(0.2, 1.25 * high, 1.15 * (share ?? 0)));
  const x = (value: number): number => 4 + (292 * value) / most;
  const name = `${share === null ? L.no : percent(share, 1)}. ${L.band(low, high)}`;
  return svg(
    "svg",
    { class: "plot", viewBox: "0 0 300 38", role: "img", "aria-label": name },
    svg("rect", { class: "band", x: x(low), y: 4, width: x(high) - x(low), height: 14 }),
    svg("line", { class: "axis", x1: 4, x2: 296, y1: 18, y2: 18 }),
    share !== null && svg("path", { class: "needle", d: `M${x(share)} 18l-5 -12h10z` }),
    svg("text", { x: 4, y: 32 }, "0 %"),
    svg("text", { x: 296, y: 32, "text-anchor": "end" }, percent(most)),
  );
}

function trendPlot(scrapes: Scrape[], low: number, high: number): Element | null {
  const points: [number, number][] = [];
  for (let index = 1; index < scrapes.length; index++) {
    const [now, then] = [scrapes[index], scrapes[Math.max(0, index - 12)]]; // a minute back
    if (!now || !then) continue;
    const part = grown(now, then);
    if (part.all) points.push([now.time, part.rejected / part.all]);
  }
  const [first, last] = [points[0]?.[0], points.at(-1)?.[0]];
  if (first === undefined || last === undefined || first === last) return null;
  const most = Math.max(0.2, ...points.map(([, share]) => 1.1 * share));
  const y = (share: number): number => 66 - (58 * share) / most;
  const line = points.map(([time, share]) => `${4 + (292 * (time - first)) / (last - first)},${y(share)}`).join(" ");
  return svg(
    "svg",
    { class: "plot", viewBox: "0 0 300 84", role: "img", "aria-label": L.history },
    svg("rect", { class: "band", x: 4, width: 292, y: y(high), height: y(low) - y(high) }),
    svg("line", { class: "axis", x1: 4, x2: 296, y1: 66, y2: 66 }),
    svg("polyline", { class: "trend", points: line }),
    svg("text", { x: 4, y: 80 }, L.history),
  );
}

function scoresCard(now: Scrape): HTMLElement {
  const found = buckets(now.samples, "cxr_clean_percentile_ratio", { model_version: now.version });
  const all = countOf(found);
  const tenths = Array.from({ length: 10 }, (_, index) => {
    const [from, to] = [index / 10, (index + 1) / 10];
    let sum = 0;
    // A score above every clean one is at 1, and so in the last tenth.
    for (const [bound, count] of found) if (bound > from + 1e-9 && (bound <= to + 1e-9 || index === 9)) sum += count;
    return all ? sum / all : 0;
  });
  const most = Math.max(0.2, ...tenths);
  const y = (share: number): number => 150 - (132 * share) / most;
  const name = tenths.map((share, index) => `${L.tenth(10 * index, 10 * index + 10)}: ${percent(share)}`).join(", ");
  return h(
    "section",
    { class: "card wide", "data-card": "scores" },
    h("h2", {}, L.scores),
    h("p", { class: "small" }, L.scoresWhat),
    svg(
      "svg",
      { class: "plot", viewBox: "0 0 640 184", role: "img", "aria-label": `${L.scores}. ${name}` },
      ...tenths.map((share, index) =>
        svg("rect", {
          class: index === 0 ? "low" : "bars", x: 12 + 62 * index, y: y(share), width: 56, height: 150 - y(share),
        }),
      ),
      ...tenths.map((share, index) =>
        svg("text", { x: 40 + 62 * index, y: y(share) - 4, "text-anchor": "middle" }, share ? percent(share) : ""),
      ),
      svg("line", { class: "axis", x1: 8, x2: 634, y1: 150, y2: 150 }),
      svg("line", { class: "rule", x1: 8, x2: 634, y1: y(0.1), y2: y(0.1) }),
      svg("text", { x: 632, y: y(0.1) - 4, "text-anchor": "end" }, all ? "" : L.expected),
      ...[0, 2, 4, 6, 8, 10].map((tenth) =>
        svg("text", { x: Math.min(628, 9 + 62 * tenth), y: 164, "text-anchor": "middle" }, String(10 * tenth)),
      ),
      svg("text", { x: 320, y: 180, "text-anchor": "middle" }, `${L.scoreAxis} (${S.films(all)}; - - ${L.expected})`),
    ),
  );
}

function latencyCard(scrapes: Scrape[], now: Scrape): HTMLElement {
  const of = (scrape: Scrape): Map<number, number> =>
    buckets(scrape.samples, "cxr_http_request_seconds", { route: "/v1/score" });
  const whole = of(now);
  const first = scrapes[0] ?? now;
  const recent = less(whole, of(first));
  const isRecent = countOf(recent) >= FEWEST;
  const shown = isRecent ? recent : whole;
  const line = (name: string, share: number): HTMLElement[] => {
    const value = quantile(shown, share);
    const text = Number.isNaN(value) ? L.no : value === Infinity ? L.over(L.seconds(30)) : L.seconds(value);
    return [h("dt", {}, name), h("dd", {}, text)];
  };
  return h(
    "section",
    { class: "card", "data-card": "latency" },
    h("h2", {}, L.latency),
    h("p", { class: "small" }, isRecent ? L.recent(Math.floor((now.time - first.time) / 60_000)) : L.sinceStart),
    h("dl", {}, ...line(L.half, 0.5), ...line(L.ninetyFive, 0.95), ...line(L.ninetyNine, 0.99)),
  );
}

function queueCard({ samples }: Scrape): HTMLElement {
  const waiting = total(samples, "cxr_waiting_requests");
  return h(
    "section",
    { class: "card", "data-card": "queue" },
    h("h2", {}, L.queue),
    h("p", { class: "figure" }, String(waiting)),
    h("p", { class: "small" }, L.queueOf(waiting, total(samples, "cxr_waiting_requests_limit"))),
    h(
      "dl",
      {},
      h("dt", {}, L.estimated),
      h("dd", {}, L.seconds(total(samples, "cxr_estimated_wait_seconds"))),
      h("dt", {}, L.refused),
      h("dd", {}, String(total(samples, "cxr_admissions_refused_total"))),
    ),
  );
}

function stateCard({ samples, version }: Scrape): HTMLElement {
  const ready = total(samples, "cxr_ready") === 1;
  const row = (name: string, value: number): HTMLElement[] => [h("dt", {}, name), h("dd", {}, value.toLocaleString("en"))];
  return h(
    "section",
    { class: "card", "data-card": "state" },
    h("h2", {}, L.state),
    h("p", { class: ready ? "state-good" : "state-bad" }, ready ? L.ready : L.notReady),
    h(
      "dl",
      {},
      ...row(L.devices, total(samples, "cxr_devices_in_service")),
      ...row(L.quarantined, total(samples, "cxr_quarantine_films", { state: "pending" })),
      ...row(L.recordFailures, total(samples, "cxr_record_failures_total")),
      ...row(L.faults, total(samples, "cxr_decisions_total", { decision: "not_judged", model_version: version })),
    ),
  );
}
