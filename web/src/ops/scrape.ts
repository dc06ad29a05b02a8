// Prometheus' text format (/metrics) -> samples, and what the console makes of them.
export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

const numberOf = (text: string): number => Number(text.replace(/Inf$/, "Infinity"));

const unescaped = (value: string): string => value.replace(/\\(.)/g, (_, escaped: string) => (escaped === "n" ? "\n" : escaped));

export function parse(text: string): Sample[] {
  const samples: Sample[] = [];
  for (const line of text.split("\n")) {
    const found = line.startsWith("#") ? null : LINE.exec(line);
    if (!found?.[1]) continue;
    const labels: Record<string, string> = {};
    for (const [, name, value] of (found[2] ?? "").matchAll(LABEL)) if (name) labels[name] = unescaped(value ?? "");
    samples.push({ name: found[1], labels, value: numberOf(found[3] ?? "") });
  }
  return samples;
}

type Labels = Record<string, string>;

const has = (sample: Sample, labels: Labels): boolean =>
  Object.entries(labels).every(([name, value]) => sample.labels[name] === value);

export const total = (samples: readonly Sample[], name: string, labels: Labels = {}): number =>
  samples.reduce((sum, each) => (each.name === name && has(each, labels) ? sum + each.value : sum), 0);

// Upper bound of each bucket -> observations in it, in order; not cumulative.
export function buckets(samples: readonly Sample[], name: string, labels: Labels): Map<number, number> {
  const cumulative = new Map<number, number>();
  for (const each of samples)
    if (each.name === `${name}_bucket` && has(each, labels)) {
      const bound = numberOf(each.labels.le ?? "");
      cumulative.set(bound, (cumulative.get(bound) ?? 0) + each.value);
    }
  const sorted = [...cumulative].sort((one, other) => one[0] - other[0]);
  return new Map(sorted.map(([bound, count], index) => [bound, count - (sorted[index - 1]?.[1] ?? 0)]));
}

export function less(now: Map<number, number>, then: Map<number, number>): Map<number, number> {
  return new Map([...now].map(([bound, count]) => [bound, count - (then.get(bound) ?? 0)]));
}

export const countOf = (histogram: Map<number, number>): number =>
  [...histogram.values()].reduce((sum, count) => sum + count, 0);

// Linear within a bucket, as Prometheus' histogram_quantile; Infinity past the last bound.
export function quantile(histogram: Map<number, number>, share: number): number {
  let rank = share * countOf(histogram);
  let low = 0;
  for (const [bound, count] of histogram) {
    if (rank <= count && count > 0) return bound === Infinity ? Infinity : low + ((bound - low) * rank) / count;
    rank -= count;
    low = bound;
  }
  return Number.NaN;
}

// Wilson's 95 % interval of a share.
export function interval(part: number, whole: number): [number, number] {
  if (!whole) return [0, 1];
  const z = 1.96;
  const share = part / whole;
  const middle = share + (z * z) / (2 * whole);
  const half = z * Math.sqrt((share * (1 - share)) / whole + (z * z) / (4 * whole * whole));
  const scale = 1 + (z * z) / whole;
  return [(middle - half) / scale, (middle + half) / scale];
}
