// Every English word of both pages that does not come from the API.
export const percent = (share: number, digits = 0): string => `${(100 * share).toFixed(digits)} %`;
// A rare finding's probabilities all lie under a hundredth, so two digits after the zeros are kept.
export const probability = (value: number): string => {
  if (value < 0.0001) return "<0.0001";
  return value.toFixed(value < 0.00995 ? 4 : value < 0.0995 ? 3 : 2);
};
export const readable = (finding: string): string => finding.replaceAll("_", " ");
const films = (count: number): string => `${count.toLocaleString("en")} ${count === 1 ? "film" : "films"}`;

export const S = {
  films,
  product: "cxr-gate",
  notDevice: "Not a medical device. No diagnosis may rest on it.",
  model: (version: string) => `Model ${version}`,
  toViewer: "Viewer",
  toOps: "Operations",
  pages: "Pages",
  theme: { auto: "Colours: as the system", light: "Colours: light", dark: "Colours: dark" },

  key: {
    title: "Access key",
    why: "This service answers only to callers who have a key. The key stays in this tab and is forgotten when the tab is closed.",
    label: "Key",
    enter: "Continue",
    cancel: "Cancel",
    change: "Key…",
    forget: "Forget the key",
    none: "No key was given.",
  },
  unreachable: "The service does not answer",
  unreachableDetail: "The connection failed. Check the network, then try again.",
  reference: (id: string) => `Reference ${id}`,
  referenceIs: "Reference",
  answeredBy: (version: string) => `Answered by model ${version}`,
  copy: "Copy the reference",
  copied: "Copied.",
  notCopied: "This browser does not copy here. The reference is selected: copy it by hand.",
  print: "Print…",
  printed: (time: string) => `Printed ${time}`,
  more: "What this means",

  list: {
    title: "Films",
    choose: "Open films…",
    folder: "Folder…",
    drop: "Drop a chest film here",
    dropMore: "PNG, JPEG or DICOM; several at once, or a folder. Frontal films only. Nothing is kept by this page.",
    clear: "Clear",
    progress: (done: number, all: number) => `${done} of ${all} done`,
    summary: (accepted: number, rejected: number, released: number, failed: number) =>
      `${accepted} accepted, ${rejected} rejected, ${released ? `${released} released, ` : ""}${failed} not read`,
    csv: "Save as CSV",
    keys: "N: next film. P: previous film.",
    sortBy: "Sort by",
    orders: { added: "order added", calls: "most present", name: "name", state: "state" },
    calls: (present: number, indeterminate: number, called: number) => {
      if (!called) return "no finding is called";
      const some = [present && `${present} present`, indeterminate && `${indeterminate} indeterminate`].filter(Boolean);
      return some.join(", ") || "none present";
    },
    state: {
      waiting: "waiting",
      judging: "being read",
      accepted: "accepted",
      rejected: "rejected",
      released: "released",
      failed: "not read",
    },
  },

  film: {
    region: "Film",
    canvas:
      "Film. Drag to change window and level. Arrow keys pan, Shift with arrow keys changes window and level, " +
      "plus and minus zoom, I inverts, H shows or hides the heatmap, W its colours, O the outline of what is judged, R resets, " +
      "N goes to the next film, P to the previous one.",
    decoding: "Preparing the film…",
    window: "Window",
    level: "Level",
    zoom: "Zoom",
    tool: "Drag to",
    toolWindow: "Window/level",
    toolPan: "Pan",
    zoomIn: "Zoom in",
    zoomOut: "Zoom out",
    invert: "Invert",
    reset: "Reset",
    heatmap: "Heatmap",
    wash: "Colours",
    opacity: "Opacity of the colours",
    heatmapOf: (finding: string) => `Heatmap: ${finding}`,
    scale: "Lines: half and four fifths of its strongest place.",
    heatmapWeak: (call: string) => `It is ${call}: the lines show where the most speaks for it, however little that is.`,
    heatmapReleased: (finding: string) => `No heatmap of ${finding}: the gate, which gives them, still rejects this film.`,
    heatmapOtherVersion: "It was made by the version that serves now, which did not give this answer.",
    heatmapLoading: (finding: string) => `Heatmap: ${finding}, being made…`,
    heatmapEmpty: (finding: string) => `Heatmap: ${finding}. Nothing to show: no place of this film stands out for it. That does not rule it out.`,
    none: "Drop films anywhere on this page.",
    hint: "Then drag for window and level, turn the wheel to zoom, drag with the right button to pan.",
    outline: "Outline",
    sides: {
      usual: "R, L: the page's marks, by the film's header.",
      mirrored: "No side marks: by its header the film is mirrored.",
      unknown: "No side marks: the file does not say which side is which.",
    },
  },

  field: {
    judged: "Judged: inside the dashed line.",
    leftOut: (sides: Record<string, number>, cut: boolean): string => {
      const margins = Object.entries(sides)
        .filter(([, width]) => width > 0)
        .map(([side, width]) => `${width.toLocaleString("en")} px at the ${side}`);
      if (cut) margins.push("what lies beyond slanted or round edges");
      return `Left out: ${new Intl.ListFormat("en").format(margins)}.`;
    },
  },

  verdict: {
    panel: "Verdict",
    none: "What the gate says of a film, and its findings, appear here.",
    waiting: "Being read",
    waitingDetail: "The film is being decoded and judged.",
    accepted: "Integrity: no tampering found",
    acceptedDetail: "The film is like clean films. That is no proof that it is unaltered, and says nothing of the findings.",
    rejected: "Rejected: this image may have been altered",
    why: "Why",
    rejectedWhy:
      "To the network the image is unlike clean chest films. It may have been tampered with; it may also be a rare or damaged film, from an unfamiliar scanner, or no chest film at all. A few clean films in a hundred are rejected.",
    next: "What to do",
    rejectedNext: [
      "Do not send it again: the same image gets the same answer.",
      "Read the film yourself, without this service.",
      "Compare it with the original at the scanner or in the archive, and tell whoever looks after security if they differ.",
    ],
    review: {
      unknown: "A reviewer may release it under Operations, where rejected films are kept.",
      waiting: "The film waits for a reviewer. If one releases it, its findings appear here.",
      confirmed: "A reviewer has looked at the film and confirmed that it is bad.",
      "not kept": "This service does not keep the film for a reviewer, so this answer stays.",
    },
    released: "Rejected by the gate, released by a reviewer",
    releasedBy: (by: string, time: string) => `${by} released it on ${time}:`,
    releasedDetail: "To the network the image is unlike clean films, so its probabilities are less sure than those of an accepted one.",
    noProbabilities: "No probabilities are given, since they could not be trusted.",
    serviceSays: "The service says",
    failed: "Not read",
    notes: "How the pixels were made",
  },

  calls: {
    name: { present: "Present", indeterminate: "Indeterminate", absent: "Absent", "not called": "Not called" },
    without: "Without a call",
    none: "none",
    meaning: {
      present: "Few films without the finding come as high.",
      indeterminate: "Between the two points nothing is decided: tampering too weak to be seen could bring it here.",
      absent: "Under both points. Films with the finding lie there too: see Missed.",
      "not called": "Too few films with the finding were at hand to choose points by.",
    },
  },

  findings: {
    title: "Findings",
    hint: "In the shaded band a finding is indeterminate, to its right present, to its left absent.",
    choose: "Choose one for its heatmap.",
    noCalls: "The service that answered gives probabilities alone, without calls: it is of an older version.",
    noCall: "This answer has no call of the finding.",
    aboutNone: "Point at a finding to see what its number means.",
    percentile: (value: number | null) => {
      if (value === null) return "no films without it to compare with";
      if (value >= 100) return "higher than all films without it";
      return value < 1 ? "lower than nearly all films without it" : `higher than ${Math.floor(value)} % of films without it`;
    },
    value: (name: string, value: number, call: string | null) => `${name}: ${probability(value)}${call ? `, ${call}` : ""}`,
    points: (presentFrom: number, absentBelow: number) =>
      `present from ${probability(presentFrom)}, absent below ${probability(absentBelow)}`,
    otherVersion: "How often such calls are right is not known here: the service now describes another version than the one that answered.",
    noDescription: "How often such calls are right is not known here: the service did not describe its version.",
    // A word for each, and what it means.
    measured: {
      specificity: ["Specificity", "Of the held-out films without the finding: not called present"],
      bound: ["at least", "The specificity, with 95 % confidence"],
      sensitivity: ["Sensitivity", "Of the held-out films with the finding: called present"],
      missed: ["Missed", "Of the held-out films with the finding: called absent"],
      auroc: ["AUROC", "On test films: 0.5 is chance, 1 is perfect"],
      films: ["Films with it", "Of all held-out films that the points were chosen by"],
      prevalence: ["Prevalence", "The probability holds where this share of films has the finding"],
      counts: (positives: number, all: number) => `${positives.toLocaleString("en")} of ${all.toLocaleString("en")}`,
      unknown: "too few films",
    },
  },

  report: {
    title: "Save",
    sr: "Report (DICOM SR)",
    capture: "Heatmap (DICOM)",
    saving: "Saving…",
  },

  csv: ["file", "verdict", "request_id", "model_version", "source_kind", "title", "detail"],

  ops: {
    sections: "Sections",
    live: "Live",
    decisions: "Decisions",
    quarantine: "Quarantine",
    versions: "Versions",
    refresh: "Refresh",
    loading: "Loading…",
    updated: (time: string) => `Updated ${time}`,
  },

  live: {
    rejection: "Rejected films",
    sinceStart: "since start",
    recent: (minutes: number) => (minutes < 1 ? "since this page was opened" : `last ${minutes} min`),
    tooFew: "no films yet",
    ofFilms: (rejected: number, all: number) => `${rejected} of ${films(all)}`,
    band: (low: number, high: number) => `Expected of clean films: ${percent(low, 1)} to ${percent(high, 1)}`,
    inside: "Within what is expected",
    above: "Above what is expected",
    below: "Below what is expected",
    unsure: "Too few films to say",
    history: "Rejected share while this page is open",
    scores: "Scores beside clean calibration",
    scoresWhat:
      "Films by where their score lies among the scores of clean calibration films. Films like those fill every tenth alike (the line); a pile at the left is attacks, or a new scanner.",
    tenth: (from: number, to: number) => `${from}–${to} %`,
    scoreAxis: "Percentile among clean films",
    expected: "expected 10 %",
    latency: "Time to answer, /v1/score",
    half: "half of them within",
    ninetyFive: "95 % within",
    ninetyNine: "99 % within",
    queue: "Waiting",
    queueOf: (waiting: number, limit: number) => `${waiting} of at most ${limit}`,
    estimated: "Estimated wait",
    refused: "Refused for load",
    faults: "Not readable, by sender's fault",
    devices: "Devices in service",
    notReady: "Not ready",
    ready: "Ready",
    state: "Service",
    seconds: (value: number) => (value < 1 ? `${Math.round(1000 * value)} ms` : `${value.toFixed(1)} s`),
    over: (value: string) => `over ${value}`,
    quarantined: "Films waiting for review",
    recordFailures: "Decisions that could not be recorded",
    no: "–",
  },

  decisions: {
    filters: "Filters",
    verdict: "Verdict",
    kind: "Format",
    version: "Version",
    caller: "Caller",
    any: "any",
    apply: "Show",
    newest: "Newest",
    older: "Older",
    page: (first: number, last: number) => `Entries ${first.toLocaleString("en")} to ${last.toLocaleString("en")}`,
    none: "No decision matches.",
    columns: {
      entry: "Entry",
      time: "Time (UTC)",
      verdict: "Verdict",
      caller: "Caller",
      kind: "Format",
      route: "Path",
      seconds: "Took",
      version: "Version",
      request: "Request",
    },
    repeated: "repeat",
    changed: "changed since: run cxr-gate verify-record",
    table: "Decisions, newest first",
  },

  quarantine: {
    list: "Rejected films",
    state: "State",
    states: { pending: "waiting", released: "released", confirmed: "confirmed bad", removed: "removed" },
    all: "all",
    none: "No films here.",
    choose: "Choose a film to review it.",
    film: "Film, as decoded",
    residual: "Fine detail, as the network sees it",
    residualWhat:
      "The 224×224 image less its smooth part. A clean film shows faint edges on mid-grey; an altered one often shows a fine texture everywhere, and that is what the score answers to.",
    residualOf: "High-frequency residual",
    score: "Score",
    scoreOf: (density: number, percentile: number) =>
      `log density ${density.toFixed(1)} nats: ${percentile <= 0 ? "below every" : `above ${percentile.toFixed(1)} % of`} clean calibration film${percentile <= 0 ? "" : "s"}`,
    sent: "Sent by",
    time: "Rejected",
    kind: "Format",
    version: "Version",
    history: "History",
    happening: (kind: string, by: string) => `${kind} by ${by}`,
    reason: "Reason",
    reasonHint: "3 to 500 characters, no names of patients. It goes into the record and to the film's sender.",
    release: "Release: the film is clean",
    confirm: "Confirm: the film is bad",
    older: "Older films",
    done: (state: string) => `This film was ${state}.`,
  },

  versions: {
    title: "Versions",
    version: "Version",
    role: "Role",
    verified: "Bundle",
    good: "verified",
    bad: "does not verify",
    roles: { active: "active", shadow: "in shadow", previous: "previous", idle: "idle" },
    actions: "Actions",
    shadow: "Try in shadow",
    promote: "Promote",
    endShadow: "End shadow",
    rollBack: "Roll back",
    working: "Working: the version is loaded and proven…",
    compare: "Shadow comparison",
    noShadow: "No version has been tried in shadow since the start.",
    between: (shadow: string, active: string) => `${shadow} beside ${active}`,
    since: (time: string) => `since ${time}`,
    ended: (reason: string) => `over: ${reason}`,
    running: "going on",
    activeSays: "Active",
    shadowSays: "Shadow",
    judgements: { accepted: "accepted", rejected: "rejected", not_judged: "not judged" },
    difference: "Largest difference of a probability",
    dropped: "Not compared, too many waited",
    errors: "Shadow failed on",
    sure: {
      promote: (name: string) => `Promote ${name}? It judges every film from now on. The present version stays ready to roll back to.`,
      rollback: "Roll back to the previous version? It judges every film from now on.",
    },
    yes: "Yes, do it",
    no: "No",
  },
} as const;
