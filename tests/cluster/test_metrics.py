"""Pages of several replicas, joined, are one page that says which sample is whose."""

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from app.cluster.metrics import merge_metrics
from app.metrics import Metrics


def page(answers: int) -> str:
    metrics = Metrics()
    metrics.requests.labels("/v1/score", "200").inc(answers)
    metrics.batch_size.observe(answers)
    return generate_latest(metrics.registry).decode()


def test_each_sample_names_its_replica() -> None:
    whole = merge_metrics([("one", page(3)), ("two", page(4))]).decode()
    counted = 'cxr_http_requests_total{replica="%s",route="/v1/score",status="200"} %s'
    assert counted % ("one", "3.0") in whole
    assert counted % ("two", "4.0") in whole
    assert whole.count("# TYPE cxr_batch_size histogram") == 1
    families = {family.name: family for family in text_string_to_metric_families(whole)}
    alone = {family.name: family for family in text_string_to_metric_families(page(3))}
    assert {name: family.type for name, family in families.items()} == {
        name: family.type for name, family in alone.items()
    }
    for name, family in alone.items():
        of_one = [sample for sample in families[name].samples if sample.labels["replica"] == "one"]
        assert [sample.name for sample in of_one] == [sample.name for sample in family.samples]


def test_a_metric_of_one_replica_alone_is_there() -> None:
    metrics = Metrics()
    metrics.missing_tags.labels("ViewPosition").inc()
    whole = merge_metrics([("one", page(1)), ("two", generate_latest(metrics.registry).decode())]).decode()
    assert 'cxr_missing_tags_total{replica="two",tag="ViewPosition"} 1.0' in whole
