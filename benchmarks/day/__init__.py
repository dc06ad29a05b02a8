"""A day at a hospital, in minutes, on one machine: ``python -m benchmarks.day`` (docs/day.md).

The real service and its default bundle, a real Prometheus and Alertmanager, real films. A day of 24 hours takes 24 minutes: every
duration of the deployed rules is divided by 60 and nothing else of them is changed, so that a film a second is a film a minute.

``films``     what is posted
``compress``  the deployed configuration, its durations divided
``machines``  service, Prometheus, Alertmanager, and who is told
``plan``      the phases, and which alert each must raise
``traffic``   films, posted as they are due
``night``     review, release, recalibration, shadow, promotion
``watching``  what fired, and when
``page``      results -> docs/day.md and its plot
"""
