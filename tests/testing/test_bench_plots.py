"""Pictures of throughput."""

from pathlib import Path

from connet_trio.testing.bench.plots import draw, size_plot


def test_a_level_is_the_same_at_every_packet_size() -> None:
    plot = size_plot("Speed", {"direct": {"1200": 1.0, "1452": 2.0}}, {"plain": 9.0})
    assert plot.places == ["1200", "1452"]
    assert plot.curves == {"direct": [1.0, 2.0], "plain": [9.0, 9.0]}


def test_a_plot_is_a_png_in_a_directory_that_is_made(tmp_path: Path) -> None:
    plot = size_plot("Speed", {"direct": {"1200": 1.0, "1452": 2.0}}, {})
    (file,) = draw([plot], tmp_path / "new")
    assert file == tmp_path / "new" / "packet-size.png"
    assert file.read_bytes().startswith(b"\x89PNG")
