import assert from "node:assert/strict";
import { test } from "node:test";
import { buckets, countOf, interval, less, parse, quantile, total } from "../src/ops/scrape.js";

const TEXT = `# HELP cxr_decisions_total Films.
# TYPE cxr_decisions_total counter
cxr_decisions_total{decision="accepted",model_version="1"} 90.0
cxr_decisions_total{decision="rejected",model_version="1"} 8.0
cxr_decisions_total{decision="rejected",model_version="2"} 1.0
cxr_decisions_total_created 5.0
cxr_ready 1.0

# TYPE cxr_http_request_seconds histogram
cxr_http_request_seconds_bucket{le="0.1",route="/v1/score",status="200"} 2.0
cxr_http_request_seconds_bucket{le="0.5",route="/v1/score",status="200"} 6.0
cxr_http_request_seconds_bucket{le="+Inf",route="/v1/score",status="200"} 7.0
cxr_http_request_seconds_bucket{le="0.1",route="/v1/score",status="422"} 1.0
cxr_http_request_seconds_bucket{le="0.5",route="/v1/score",status="422"} 1.0
cxr_http_request_seconds_bucket{le="+Inf",route="/v1/score",status="422"} 3.0
cxr_http_request_seconds_bucket{le="+Inf",route="/v1/decode",status="200"} 40.0
cxr_http_request_seconds_count{route="/v1/score",status="200"} 7.0
`;
const samples = parse(TEXT);

test("a sample has its name, its labels and its value", () => {
  assert.equal(samples.length, 13);
  assert.deepEqual(samples[0], {
    name: "cxr_decisions_total", labels: { decision: "accepted", model_version: "1" }, value: 90,
  });
  assert.deepEqual(samples[4], { name: "cxr_ready", labels: {}, value: 1 });
});

// As the format is described at prometheus.io/docs/instrumenting/exposition_formats.
test("numbers and labels are read in all their forms", () => {
  const values = parse("a +Inf\nb -Inf\nc NaN\nd 1.5e-05\ne 3 1700000000000\n").map(({ value }) => value);
  assert.deepEqual(values, [Infinity, -Infinity, NaN, 1.5e-5, 3]);
  const line = String.raw`x{path="C:\\DIR\\new",said="a \"}\" b",both="one\ntwo"} 1`;
  assert.deepEqual(parse(line)[0]?.labels, { path: String.raw`C:\DIR\new`, said: 'a "}" b', both: "one\ntwo" });
  assert.deepEqual(parse("x{a=\"1\",} 2\n"), [{ name: "x", labels: { a: "1" }, value: 2 }]);
  assert.deepEqual(parse("# x 1\n{} 1\n\n"), []);
});

test("a total is over all that have the labels, and over no other name", () => {
  assert.equal(total(samples, "cxr_decisions_total"), 99);
  assert.equal(total(samples, "cxr_decisions_total", { decision: "rejected" }), 9);
  assert.equal(total(samples, "cxr_decisions_total", { decision: "rejected", model_version: "1" }), 8);
  assert.equal(total(samples, "cxr_decisions"), 0);
});

test("buckets count each observation once, over all that have the labels", () => {
  const found = buckets(samples, "cxr_http_request_seconds", { route: "/v1/score" });
  assert.deepEqual([...found], [[0.1, 3], [0.5, 4], [Infinity, 3]]);
  assert.equal(countOf(found), 10);
});

test("bounds go up, in whatever order they are told", () => {
  const text = 'x_bucket{le="10"} 3\nx_bucket{le="+Inf"} 4\nx_bucket{le="2"} 1\n';
  assert.deepEqual([...buckets(parse(text), "x", {})], [[2, 1], [10, 2], [Infinity, 1]]);
});

test("what came since is the difference, also of a bucket that was not there", () => {
  const now = new Map([[1, 5], [2, 7]]);
  assert.deepEqual([...less(now, new Map([[1, 2]]))], [[1, 3], [2, 7]]);
});

// By hand, as histogram_quantile is described: linear within the bucket in which the rank falls.
test("a quantile lies within its bucket", () => {
  const histogram = new Map([[0.1, 3], [0.5, 4], [Infinity, 3]]);
  assert.ok(Math.abs(quantile(histogram, 0.15) - 0.05) < 1e-12);
  assert.ok(Math.abs(quantile(histogram, 0.5) - (0.1 + (0.4 * 2) / 4)) < 1e-12);
  assert.ok(Math.abs(quantile(histogram, 0.7) - 0.5) < 1e-12);
  assert.equal(quantile(histogram, 0.95), Infinity);
  assert.equal(quantile(new Map([[1, 0], [2, 4]]), 0.5), 1.5); // an empty bucket is passed over
  assert.ok(Number.isNaN(quantile(new Map([[1, 0], [Infinity, 0]]), 0.5)));
  assert.ok(Number.isNaN(quantile(new Map(), 0.5)));
});

// Ends of Wilson's interval are where the share's own standard error, at that end, is 1.96: (p - share)^2 = z^2 p (1 - p) / n.
test("the interval's ends are where the share is 1.96 standard errors off", () => {
  for (const [part, whole] of [[0, 12], [3, 40], [20, 40], [99, 100], [5, 5]] as const) {
    const [low, high] = interval(part, whole);
    assert.ok(low <= part / whole + 1e-12 && part / whole <= high + 1e-12, `${part} of ${whole}`);
    for (const end of [low, high]) {
      const off = (end - part / whole) ** 2 - (1.96 ** 2 * end * (1 - end)) / whole;
      assert.ok(Math.abs(off) < 1e-12, `${part} of ${whole}: ${end}`);
    }
  }
  assert.deepEqual(interval(0, 0), [0, 1]);
});
