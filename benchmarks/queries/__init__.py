"""Query-sequence detection, measured: which descriptor, false alarms, attacks through HTTP, and what it cannot see.

python -m benchmarks.queries                all of it: reports/queries/queries.json, and the tables of docs/query-detection.md
python -m benchmarks.queries --only PART    one part; may be repeated

choice       train and val films: the descriptors that were compared
radius       train and val films: the radius (``app.access.sequences.RADIUS``)
alarms       test films, and all films: near-duplicates among films that nobody attacks
attacks      test films, through HTTP against the served bundle, which refuses: Square (ours and ART's), HopSkipJump
undefended   the same Square against a service that does not look
dodges       an attacker who also moves, turns or blurs each query, without asking anybody
cost         milliseconds a film
"""
