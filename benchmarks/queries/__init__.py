"""Query-sequence detection, measured: which descriptor, false alarms, attacks through HTTP, and what it cannot see.

python -m benchmarks.queries                all of it: reports/queries/queries.json, and the tables of docs/query-detection.md
python -m benchmarks.queries --only PART    one part of: choice, alarms, dodges, cost, attacks

choice   train and val films: the descriptors that were compared, and the radius (``app.access.sequences.RADIUS``)
alarms   test films, and all films: near-duplicates among films that nobody attacks
dodges   an attacker who also moves, turns or blurs each query, without asking anybody
cost     milliseconds a film
attacks  test films, through HTTP against the served bundle, refusing and not: Square (of ours and ART's), HopSkipJump
"""
