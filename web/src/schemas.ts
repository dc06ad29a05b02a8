// Written by `npm run types` from docs/openapi.json.
// Shapes: 371ce5c7a5f21b1b477be195654e7dac2c839ad60b6c1072a7f22c10dd268380
export type paths = Record<string, never>;
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        Accepted: {
            calls: {
                [key: string]: components["schemas"]["CalledFinding"];
            };
            exposed_field: components["schemas"]["JudgedField"];
            model_version: string;
            notes: string[];
            probabilities: {
                [key: string]: number;
            };
            request_id: string;
            /** @enum {string} */
            source_kind: "png" | "jpeg" | "dicom";
            /** @constant */
            verdict?: "accepted";
        };
        AcceptedWithHeatmap: {
            calls: {
                [key: string]: components["schemas"]["CalledFinding"];
            };
            exposed_field: components["schemas"]["JudgedField"];
            heatmap: components["schemas"]["GivenHeatmap"];
            model_version: string;
            notes: string[];
            probabilities: {
                [key: string]: number;
            };
            request_id: string;
            /** @enum {string} */
            source_kind: "png" | "jpeg" | "dicom";
            /** @constant */
            verdict?: "accepted";
        };
        Aimed: {
            attacker: string;
            epsilon: number;
            evaded: number;
            films: number;
            /** @enum {string} */
            finding_choice: "furthest" | "nearest" | "random";
            /** @enum {string} */
            goal: "hide" | "invent" | "absent-to-present" | "present-to-absent" | "any-change";
            knows_the_gate: boolean;
            probability_change: number | null;
        };
        CalledFinding: {
            absent_below: number | null;
            /** @enum {string} */
            call: "present" | "indeterminate" | "absent" | "not called";
            percentile: number | null;
            present_from: number | null;
        };
        Compared: {
            /** @enum {string} */
            active: "accepted" | "rejected";
            films: number;
            /** @enum {string} */
            shadow: "accepted" | "rejected" | "not_judged";
        };
        DecisionPage: {
            decisions: components["schemas"]["DecisionSummary"][];
            next: number | null;
        };
        DecisionSummary: {
            caller: string | null;
            entry: number;
            film: string | null;
            intact: boolean;
            model_version: string;
            repeated: boolean;
            request_id: string;
            route: string | null;
            seconds: number | null;
            source_kind: ("png" | "jpeg" | "dicom") | null;
            time: string;
            /** @enum {string} */
            verdict: "accepted" | "rejected";
        };
        FilmHappening: {
            by: string;
            kind: string;
            reason: string | null;
            route: string | null;
            time: string;
        };
        GivenHeatmap: {
            finding: string;
            localised: boolean;
            png: string;
            text: string;
        };
        JudgedField: {
            bottom: number;
            columns: number;
            left: number;
            outlines: [
                number,
                number
            ][][];
            right: number;
            rows: number;
            top: number;
        };
        KeptFilmDetails: {
            callers: string[];
            happenings: components["schemas"]["FilmHappening"][];
            id: string;
            log_density: number;
            model_version: string;
            percentile: number;
            pixels_hash: string;
            request_id: string;
            route: string;
            /** @enum {string} */
            source_kind: "png" | "jpeg" | "dicom";
            /** @enum {string} */
            state: "pending" | "released" | "confirmed" | "removed";
            time: string;
        };
        KeptFilmPage: {
            films: components["schemas"]["KeptFilmSummary"][];
            next: string | null;
        };
        KeptFilmSummary: {
            callers: string[];
            id: string;
            model_version: string;
            request_id: string;
            route: string;
            /** @enum {string} */
            source_kind: "png" | "jpeg" | "dicom";
            /** @enum {string} */
            state: "pending" | "released" | "confirmed" | "removed";
            time: string;
        };
        Limits: {
            deadline_seconds: number;
            max_body_bytes: number;
            max_pixels: number;
        };
        ListedVersion: {
            folder: string | null;
            model_version: string | null;
            reason: string | null;
            /** @enum {string} */
            role: "active" | "shadow" | "previous" | "idle";
            signed_by: string | null;
            verified: boolean;
        };
        ModelDescription: {
            backend: string;
            device: string;
            findings: components["schemas"]["PublicFinding"][];
            gate: components["schemas"]["PublicGate"];
            labels: string[];
            limits: components["schemas"]["Limits"];
            measured: components["schemas"]["Rates"] | null;
            model_version: string;
            notice?: string;
            shadow: string | null;
            signed_by: string | null;
        };
        ProblemBody: {
            detail: string;
            instance: string;
            request_id: string;
            status: number;
            title: string;
            type: string;
        };
        PublicFinding: {
            absent_below: number | null;
            auroc: number | null;
            held_out_negatives: number;
            held_out_positives: number;
            missed: number | null;
            name: string;
            present_from: number | null;
            prevalence: number;
            sensitivity: number | null;
            specificity: number | null;
            specificity_lower_bound: number | null;
        };
        PublicGate: {
            calibration_bound: number;
            calibration_n: number;
            kind: string;
            n: number;
            target_false_rejection_rate: number;
            threshold_rule: string;
            watch: string | null;
        };
        Rates: {
            aimed?: components["schemas"]["Aimed"][] | null;
            detection_rate: {
                [key: string]: number;
            };
            evasion_rate: {
                [key: string]: number;
            };
            false_rejection_rate: number;
            false_rejection_rate_interval: [
                number,
                number
            ];
            mean_auroc: number;
            mean_auroc_interval: [
                number,
                number
            ];
            test_n: number;
        };
        Reason: {
            reason: string;
        };
        Release: {
            by: string;
            reason: string;
            time: string;
        };
        ReleasedResult: {
            calls: {
                [key: string]: components["schemas"]["CalledFinding"];
            };
            exposed_field: components["schemas"]["JudgedField"];
            model_version: string;
            notes: string[];
            probabilities: {
                [key: string]: number;
            };
            released: components["schemas"]["Release"];
            request_id: string;
            /** @enum {string} */
            source_kind: "png" | "jpeg" | "dicom";
            /** @constant */
            verdict?: "accepted";
        };
        ShadowComparison: {
            active: string;
            dropped: number;
            ended: string | null;
            errors: number;
            films: components["schemas"]["Compared"][];
            largest_probability_difference: number;
            shadow: string;
            since: string;
        };
        Status: {
            status: string;
        };
        VersionsState: {
            comparison: components["schemas"]["ShadowComparison"] | null;
            versions: components["schemas"]["ListedVersion"][];
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type Accepted = components['schemas']['Accepted'];
export type AcceptedWithHeatmap = components['schemas']['AcceptedWithHeatmap'];
export type Aimed = components['schemas']['Aimed'];
export type CalledFinding = components['schemas']['CalledFinding'];
export type Compared = components['schemas']['Compared'];
export type DecisionPage = components['schemas']['DecisionPage'];
export type DecisionSummary = components['schemas']['DecisionSummary'];
export type FilmHappening = components['schemas']['FilmHappening'];
export type GivenHeatmap = components['schemas']['GivenHeatmap'];
export type JudgedField = components['schemas']['JudgedField'];
export type KeptFilmDetails = components['schemas']['KeptFilmDetails'];
export type KeptFilmPage = components['schemas']['KeptFilmPage'];
export type KeptFilmSummary = components['schemas']['KeptFilmSummary'];
export type Limits = components['schemas']['Limits'];
export type ListedVersion = components['schemas']['ListedVersion'];
export type ModelDescription = components['schemas']['ModelDescription'];
export type ProblemBody = components['schemas']['ProblemBody'];
export type PublicFinding = components['schemas']['PublicFinding'];
export type PublicGate = components['schemas']['PublicGate'];
export type Rates = components['schemas']['Rates'];
export type Reason = components['schemas']['Reason'];
export type Release = components['schemas']['Release'];
export type ReleasedResult = components['schemas']['ReleasedResult'];
export type ShadowComparison = components['schemas']['ShadowComparison'];
export type Status = components['schemas']['Status'];
export type VersionsState = components['schemas']['VersionsState'];
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
