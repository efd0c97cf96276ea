import json

from tests.bench.estimates import Estimate
from tests.bench.figures import Figure, Mark
from tests.bench.report import line, markdown, write

FIGURES = [
    Figure("net: occlusion", "efficiency", "ratio", Estimate(0.97, 0.96, 0.98), 0.004, Mark(0.95), "733 rows"),
    Figure(
        "net: occlusion", "speed-up over lime: default", "ratio", None, mark=Mark(1.3), failed="not installed: lime"
    ),
]
MACHINE = {"cpu": "abacus", "cores": 2, "versions": {"numpy": "2.0"}}


def test_a_line_says_value_interval_noise_mark_and_verdict():
    said = line(FIGURES[0])
    for part in ("efficiency", "0.970 ratio", "0.960 … 0.980", "0.4%", "≥ 0.95", "met", "733 rows"):
        assert part in said


def test_losses_stand_in_the_page(tmp_path):
    page = markdown(MACHINE, FIGURES)
    assert "1 met, 0 missed, 0 no verdict, 1 failed" in page
    assert "not installed: lime" in page
    assert "* cpu: abacus" in page
    assert page.count("## net: occlusion") == 1


def test_json_holds_everything(tmp_path):
    write(tmp_path / "out", MACHINE, FIGURES, {"seconds": 3.5})
    held = json.loads((tmp_path / "out" / "report.json").read_text())
    assert held["machine"] == MACHINE
    assert held["seconds"] == 3.5
    first, second = held["figures"]
    assert (first["value"], first["low"], first["control"], first["verdict"]) == (0.97, 0.96, 0.004, "met")
    assert (second["value"], second["verdict"], second["failed"]) == (None, "failed", "not installed: lime")
