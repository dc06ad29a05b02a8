"""The arrows go one way: app never imports offline, the pipeline imports nothing else of app, and nothing unpickles."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Absolute names of the modules that a file imports, at any depth of it."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def identify(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", sources("app"), ids=identify)
def test_app_never_imports_offline(path: Path) -> None:
    assert not [name for name in imports(path) if within(name, "offline", "research")]


@pytest.mark.parametrize("path", sources("app/pipeline"), ids=identify)
def test_the_pipeline_imports_neither_http_nor_the_rest_of_app(path: Path) -> None:
    names = [name for name in imports(path) if name != "app"]
    assert not [name for name in names if within(name, "app") and not within(name, "app.pipeline")]
    assert not [name for name in names if within(name, "fastapi", "starlette", "uvicorn", "httpx", "prometheus_client")]
    assert not [name for name in names if name in {"os.environ", "os.getenv"}]


def rooms() -> dict[str, set[str]]:
    """Of each room of app, the rooms that it may import, as docs/architecture.md has them."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `app/(\w+)/` \|.*\| (.*) \|$", page, re.MULTILINE)
    named = {room for room, _ in rows}
    return {room: named & set(re.findall(r"\w+", allowed)) for room, allowed in rows}


def test_a_room_imports_the_rooms_that_the_page_says_and_all_of_them() -> None:
    told = rooms()
    assert set(told) == {path.parent.name for path in (ROOT / "app").glob("*/__init__.py")}
    found: dict[str, set[str]] = {room: set() for room in told}
    for room in told:
        for path in sources(f"app/{room}"):
            found[room] |= {parts[1] for name in imports(path) if (parts := name.split("."))[0] == "app" and parts[1:]}
    assert {room: other & told.keys() - {room} for room, other in found.items()} == told


@pytest.mark.parametrize("path", sources("offline"), ids=identify)
def test_offline_never_imports_research(path: Path) -> None:
    assert not [name for name in imports(path) if within(name, "research")]


@pytest.mark.parametrize("path", sources("offline", "research"), ids=identify)
def test_offline_imports_only_the_pipeline_of_app(path: Path) -> None:
    allowed = ("app.pipeline", "app.__version__")
    assert not [name for name in imports(path) if within(name, "app") and name != "app" and not within(name, *allowed)]


#: Files of a run.
OF_A_RUN = {
    "network.safetensors", "training.json", "checkpoint.pt", "distillation.json", "gaussian.safetensors", "fit.json",
    "orientation.safetensors", "orientation.json", "content.safetensors", "content.json", "calls.json", "calls-report.json",
    "heatmap.safetensors", "report.json",
}  # fmt: skip


@pytest.mark.parametrize("path", sources("offline", "research"), ids=identify)
def test_the_files_of_a_run_are_named_in_one_place(path: Path) -> None:
    named = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)} & OF_A_RUN
    assert bool(named) == (identify(path) == "offline/run.py")


def test_no_class_name_is_defined_twice() -> None:
    """A name that has two meanings must be looked up each time that it is read, and is imported by mistake."""
    places: dict[str, list[str]] = {}
    for path in sources("app", "offline", "research", "benchmarks"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(f"{identify(path)}:{node.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


#: Who may name what sets the gate aside, and what leads there: one straight line from a release in the record.
DOOR = {
    "set_gate_aside": {"app/pipeline/verdict.py", "app/pipeline/screener.py", "app/engine/device.py"},
    "screen_released": {"app/engine/engine.py", "app/http/routes/results.py"},
}


@pytest.mark.parametrize("name", DOOR)
def test_there_is_one_door_past_the_gate(name: str) -> None:
    assert {identify(path) for path in sources("app") if name in path.read_text()} == DOOR[name]


#: pydicom's parser, by all its doors.
PARSERS = {
    "dcmread", "read_file", "read_dataset", "read_partial", "read_sequence", "read_sequence_item", "data_element_generator",
    "read_deferred_data_element", "read_undefined_length_value", "DicomDir", "FileSet", "iter_pixels", "pixel_array",
}  # fmt: skip


@pytest.mark.parametrize("path", sources("app"), ids=identify)
def test_pydicom_parses_within_its_meter_alone(path: Path) -> None:
    """Else a file of a megabyte may take minutes, in whatever thread reads it."""
    # Reports of ours, and what lies under their UIDs, which is bounded in bytes and items first: the forwarder reads them, and
    # is to load nothing of the pipeline, which loads torch.
    if identify(path) in {"app/pipeline/dicom/metered.py", "app/statements.py"}:
        return
    tree = ast.parse(path.read_text())
    named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    named |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    imported = [name for name in imports(path) if within(name, "pydicom")]
    assert not PARSERS & (named | {name.rsplit(".", 1)[-1] for name in imported})
    assert not [name for name in imported if within(name, "pydicom.filereader", "pydicom.fileset", "pydicom.dicomio")]


CODE = list(sources("app", "offline", "research", "benchmarks", "scripts", "deploy", "artifacts", "tests"))


@pytest.mark.parametrize("path", CODE, ids=identify)
def test_nothing_unpickles_or_forces(path: Path) -> None:
    assert not [name for name in imports(path) if within(name, "pickle", "dill", "cloudpickle", "joblib", "shelve")]
    for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
        named = {word.arg: getattr(word.value, "value", None) for word in call.keywords}
        where = f"line {call.lineno}"
        if ast.unparse(call.func).split(".")[-1] in {"dcmread", "read_file"}:
            assert named.get("force") is not True, where
        assert named.get("allow_pickle") is not True, where
        if ast.unparse(call.func) == "torch.load":
            assert named.get("weights_only") is True, where
