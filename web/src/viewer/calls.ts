// What an answer says of its findings, in the order in which they are read.
import type { Accepted, Call } from "../api.js";

export const CALLS: readonly Call[] = ["present", "indeterminate", "absent", "not called"];

// Without a call where the service that answered gives none.
export interface Judged {
  name: string;
  probability: number;
  call: Call | null;
  presentFrom: number | null;
  absentBelow: number | null;
  percentile: number | null;
}

export const logOdds = (probability: number): number => {
  const inside = Math.min(1 - 1e-9, Math.max(1e-9, probability));
  return Math.log(inside / (1 - inside));
};

function judgedOf(answer: Accepted): Judged[] {
  return Object.entries(answer.probabilities).map(([name, probability]) => {
    const called = answer.calls?.[name];
    return {
      name,
      probability,
      call: called?.call ?? null,
      presentFrom: called?.present_from ?? null,
      absentBelow: called?.absent_below ?? null,
      percentile: called?.percentile ?? null,
    };
  });
}

// How far past the point that its call rests on. Probabilities of two findings do not compare where one is a hundred times
// as frequent; what lies between a probability and its own point does.
function past({ call, probability, presentFrom, absentBelow, percentile }: Judged): number {
  const point = call === "present" ? presentFrom : absentBelow;
  return point === null ? (percentile ?? 0) + probability : logOdds(probability) - logOdds(point);
}

// Findings of one call, furthest up first; null: those without a call.
export function judgedBy(answer: Accepted, call: Call | null): Judged[] {
  return judgedOf(answer)
    .filter((each) => each.call === call)
    .sort((one, other) => past(other) - past(one));
}

// How many findings have each call; null where the answer has no calls.
export function tally(answer: Accepted): Record<Call, number> | null {
  if (!answer.calls) return null;
  const counted: Record<Call, number> = { present: 0, indeterminate: 0, absent: 0, "not called": 0 };
  for (const each of judgedOf(answer)) if (each.call) counted[each.call]++;
  return counted;
}
