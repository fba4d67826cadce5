"""Against the numbers that were drawn, read back from the figures, and against WCAG's examples."""

from __future__ import annotations

import io
import itertools
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from inkproof import figures
from inkproof.errors import DataError, StorageError, UnknownNameError
from inkproof.figures.style import plain_text

NASTY = ["$\\frac{1", "_hidden", "a\nb\x07c", "漢字 🖋", "x" * 300, "<b>", "", "{}%s", "\\n", "5"]
TEN = [str(label) for label in range(10)]
OTHER_COLOURS = {"pixel_array", "confusion"}  # not only a theme's


def images(n: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (n, *shape), dtype=np.uint8)


def history(epochs: int = 4, offset: float = 0.0) -> dict[str, list[float]]:
    steps = [offset + 1 / epoch for epoch in range(1, epochs + 1)]
    return {
        "loss": steps,
        "accuracy": [1 - step / 4 for step in steps],
        "val_loss": [step + 0.1 for step in steps],
        "val_accuracy": [0.9 - step / 4 for step in steps],
        "learning_rate": [0.01] * epochs,
    }


def draw_all(theme: figures.Theme, names: list[str] = TEN) -> dict[str, Figure]:
    """One figure of each kind."""
    some = np.linspace(0.05, 0.15, 10)
    return {
        "image_grid": figures.image_grid(images(7, 28, 28), names[:7], theme=theme),
        "pixel_array": figures.pixel_array(images(1, 9, 8)[0], theme=theme),
        "class_counts": figures.class_counts(
            {"train": list(range(10)), "test": [5] * 10}, names, theme=theme
        ),
        "curves": figures.curves(
            [history(), history(offset=0.1)], history(6), names[0], theme=theme
        ),
        "confusion": figures.confusion(np.arange(100).reshape(10, 10), names, theme=theme),
        "fit": figures.fit([history(9), history(9, 0.1)], names[0], theme=theme),
        "reliability": figures.reliability(
            {names[0] or "a": [((0.3, 0.9), (0.4, 0.85), (3, 900))]}, theme=theme
        ),
        "coverage": figures.coverage(
            [0.5, 1.0],
            {name: [(1.0, None, None), (0.9, 0.88, 0.92)] for name in names[:4]},
            theme=theme,
        ),
        "small_multiples": figures.small_multiples(
            {"rotated": ("degrees", (0, 10)), "inverted": ("%", (0, 100))},
            {
                name: {"rotated": [(0.9, 0.8, 1.0)] * 2, "inverted": [(0.5, 0.4, 0.6)] * 2}
                for name in names[:2]
            },
            theme=theme,
        ),
        "probabilities": figures.probabilities(some, names, target=2, theme=theme),
        "predictions": figures.predictions(
            images(3, 8, 8, 3), [0, 1, 2], np.stack([some] * 3), names, theme=theme
        ),
        "mistakes_gallery": figures.mistakes_gallery(
            images(4, 28, 28, 1), [0, 1, 2, 3], [4, 5, 6, 7], [0.9, 1, 0, 0.5], names, theme=theme
        ),
        "scores": figures.scores(
            {names[0]: {0: 0.97, 1: 0.98}, names[1]: {0: 0.96, 2: 0.99}},
            {names[0]: (0.975, 0.97, 0.98), names[1]: (0.975, None, None)},
            theme=theme,
        ),
        "difference": figures.difference(
            {0: 0.01, 1: -0.02}, (-0.005, -0.03, 0.02), names[0], names[1], theme=theme
        ),
    }


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def png_size(content: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(content)).size


# Every figure


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_figure_is_on_its_theme_s_paper(theme: figures.Theme):
    for name, figure in draw_all(theme).items():
        picture = Image.open(io.BytesIO(figures.render(figure, "png"))).convert("RGB")
        if name != "pixel_array":  # it is all pixels
            assert "#{:02x}{:02x}{:02x}".format(*picture.getpixel((0, 0))) == (
                figures.THEMES[theme].paper
            ), name


def test_a_figure_of_theme_colours_is_recoloured_as_if_drawn_anew():
    dark = draw_all("dark")
    for name, figure in draw_all("light").items():
        if name in OTHER_COLOURS:
            continue
        anew, again = (
            # Names of markers are made from their colours.
            re.sub(rb"\bm[0-9a-f]{10}\b", b"marker", svg)
            for svg in (
                figures.render(dark[name], "svg"),
                figures.recoloured(figures.render(figure, "svg"), "dark"),
            )
        )
        assert again == anew, name


def test_the_same_figure_gives_the_same_bytes_whatever_the_user_s_settings():
    first = {
        (name, form): figures.render(figure, form)
        for name, figure in draw_all("light").items()
        for form in ("png", "svg")
    }
    rude = {"font.size": 30, "savefig.dpi": 30, "axes.facecolor": "red", "savefig.bbox": "tight"}
    with matplotlib.rc_context(rude):
        again = {
            (name, form): figures.render(figure, form)
            for name, figure in draw_all("light").items()
            for form in ("png", "svg")
        }
        assert matplotlib.rcParams["font.size"] == 30
    assert {key for key in first if first[key] != again[key]} == set()
    assert b"<dc:date>" not in first["curves", "svg"]
    assert b"Software" not in first["curves", "png"]


def test_names_may_hold_anything():
    for figure in draw_all("dark", NASTY).values():
        assert png_size(figures.render(figure, "png")) > (100, 100)
        assert all(len(line) < 90 for text in texts(figure) for line in text.split("\n"))


def test_pyplot_is_not_loaded():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import numpy as np;"
        "from inkproof import figures;"
        "figures.render(figures.image_grid(np.zeros((1, 2, 2), np.uint8)), 'png');"
        "assert 'inkproof.figures' in sys.modules;"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    source = str(Path(figures.__file__).parents[2])
    assert subprocess.run([sys.executable, "-c", code, source], check=False).returncode == 0


def test_an_unknown_theme_is_named():
    with pytest.raises(UnknownNameError, match=r"unknown theme 'drak'.*Did you mean 'dark'\?"):
        figures.pixel_array(images(1, 2, 2)[0], theme="drak")  # type: ignore[arg-type]  # wrong on purpose


def test_figures_show_themselves_in_a_notebook():
    figure = figures.pixel_array(images(1, 2, 2)[0])
    assert figure._repr_png_() == figures.render(figure, "png")


# Files


def test_save_goes_by_the_suffix(tmp_path: Path):
    figure = figures.pixel_array(images(1, 4, 5)[0])
    assert figures.save(figure, tmp_path / "a.PNG").read_bytes() == figures.render(figure, "png")
    assert figures.save(figure, str(tmp_path / "a.svg")).read_bytes() == (
        figures.render(figure, "svg")
    )
    with pytest.raises(UnknownNameError, match=r"a\.pdf: unknown form of figure 'pdf'"):
        figures.save(figure, tmp_path / "a.pdf")
    with pytest.raises(StorageError, match=r"missing/a\.png: cannot be written: No such file"):
        figures.save(figure, tmp_path / "missing" / "a.png")
    with pytest.raises(UnknownNameError, match="unknown form of figure 'gif'"):
        figures.render(figure, "gif")  # type: ignore[arg-type]  # wrong on purpose


# Images


@given(n=st.integers(1, 7), columns=st.integers(1, 8), channels=st.sampled_from([None, 1, 3]))
@settings(max_examples=15, deadline=None)
def test_a_grid_holds_each_image_under_its_title(n: int, columns: int, channels: int | None):
    pictures = images(n, 4, 3, *([] if channels is None else [channels]))
    titles = [f"Target: {place}" for place in range(n)]
    panels = figures.image_grid(pictures, titles, columns).axes
    shown = [panel for panel in panels if panel.images]
    assert [panel.get_title() for panel in shown] == titles
    lefts = {round(panel.get_position().x0, 6) for panel in panels}
    assert len(lefts) == min(n, columns)
    boxes = [panel.get_window_extent() for panel in panels]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    for panel, picture in zip(shown, pictures, strict=True):
        drawn = np.asarray(panel.images[0].get_array())
        assert np.array_equal(drawn, picture[..., 0] if channels == 1 else picture)
        if channels != 3:  # black is 0 and white is 255, whatever the image's own range
            assert panel.images[0].get_clim() == (0, 255)


@pytest.mark.parametrize(
    ("pictures", "titles", "message"),
    [
        (np.zeros((0, 2, 2), np.uint8), (), r"at least one image.*got shape \(0, 2, 2\)"),
        (np.zeros((2, 2), np.uint8), (), r"got shape \(2, 2\)"),
        (np.zeros((1, 2, 2, 4), np.uint8), (), r"1 or 3 channels"),
        (np.zeros((1, 2, 2)), (), "must be uint8, 0-255, got float64"),
        (np.zeros((2, 2, 2), np.uint8), ("a",), "expected a title an image, 2, got 1"),
    ],
)
def test_a_grid_says_what_it_cannot_draw(pictures, titles, message: str):
    with pytest.raises(DataError, match=message):
        figures.image_grid(pictures, titles)


def test_a_grid_needs_a_column():
    with pytest.raises(DataError, match="columns must be at least 1, got 0"):
        figures.image_grid(images(1, 2, 2), columns=0)


def test_a_pixel_array_has_every_number_readable():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    axes = figures.pixel_array(pixels).axes[0]
    assert [text.get_text() for text in axes.texts] == [str(value) for value in range(256)]
    for text in axes.texts:
        column, row = text.get_position()
        value = int(pixels[int(row), int(column)])
        assert text.get_text() == str(value)
        grey = f"#{value:02x}{value:02x}{value:02x}"
        assert figures.contrast(grey, text.get_color()) >= 4.5, value


@pytest.mark.parametrize("shape", [(2, 2, 1), (65, 3), (0, 0)])
def test_a_pixel_array_is_of_one_small_grey_image(shape):
    with pytest.raises(DataError, match="pixel_array: expected uint8"):
        figures.pixel_array(np.zeros(shape, np.uint8))


def test_a_gallery_says_target_predicted_and_how_sure():
    figure = figures.mistakes_gallery(
        images(2, 5, 5), [0, 1], [1, 0], [0.98765, 1.0], ["no", "yes"]
    )
    titles = [panel.get_title() for panel in figure.axes if panel.get_title()]
    assert titles == ["Target: no\nPredicted: yes\n98.8 %", "Target: yes\nPredicted: no\n100.0 %"]
    with pytest.raises(DataError, match="got 2 images, 2, 1 and 2"):
        figures.mistakes_gallery(images(2, 5, 5), [0, 1], [1], [0.5, 0.5], ["no", "yes"])


# Charts


@given(
    counts=st.lists(st.lists(st.integers(0, 10**6), min_size=4, max_size=4), min_size=1, max_size=3)
)
@settings(max_examples=10, deadline=None)
def test_bars_are_as_high_as_the_counts(counts: list[list[int]]):
    splits = dict(zip(("train", "validation", "test"), counts, strict=False))
    axes = figures.class_counts(splits, ["a", "b", "c", "d"]).axes[0]
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == counts
    assert [text.get_text() for text in axes.get_xticklabels()] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("counts", [{}, {"train": [1]}, {name: [1, 2] for name in "abcd"}])
def test_class_counts_are_a_number_a_class(counts):
    with pytest.raises(DataError, match="class_counts: expected 2 counts"):
        figures.class_counts(counts, ["a", "b"])


def lines_of(figure: Figure, panel: int) -> list[np.ndarray]:
    return [np.asarray(line.get_ydata(), dtype=float) for line in figure.axes[panel].lines]


def test_curves_have_each_seed_their_mean_and_the_published_one():
    seeds = [history(4), history(4, 0.2), history(4, 0.3)]
    published = history(6, 0.5)
    figure = figures.curves(seeds, published, "net")
    for panel, measure, scale in ((0, "loss", 1), (1, "accuracy", 100)):
        drawn = lines_of(figure, panel)
        expected = []
        for column in (measure, f"val_{measure}"):
            of_seeds = [scale * np.array(seed[column]) for seed in seeds]
            expected += [scale * np.array(published[column]), *of_seeds, sum(of_seeds) / 3]
        assert len(drawn) == len(expected) == 10
        for one, other in zip(drawn, expected, strict=True):
            assert np.allclose(one, other, rtol=1e-12)
        assert figure.axes[panel].lines[0].get_linestyle() == "--"
        orders = [line.get_zorder() for line in figure.axes[panel].lines[:5]]
        assert orders == sorted(orders)  # published behind seeds behind mean
        assert np.array_equal(figure.axes[panel].lines[0].get_xdata(), range(1, 7))
    assert {"training", "validation", "published", "one seed"} <= set(texts(figure))
    assert "net: loss, nats" in texts(figure)


def test_curves_of_one_seed_without_validation_are_one_line_each():
    short = {key: column for key, column in history(1).items() if not key.startswith("val_")}
    figure = figures.curves([short])
    assert [len(lines_of(figure, panel)) for panel in (0, 1)] == [1, 1]
    assert figure.axes[0].lines[0].get_marker() == "o"  # a line of one point would not be seen
    assert {"validation", "published", "one seed"}.isdisjoint(texts(figure))


def test_the_mean_goes_as_far_as_the_shortest_history():
    figure = figures.curves([history(3), history(5, 1.0)], measures=["loss"])
    assert [len(line) for line in lines_of(figure, 0)] == [3, 5, 3, 3, 5, 3]
    assert len(figure.axes) == 1


def test_curves_of_many_seeds_stay_small():
    many = [history(200, seed / 100) for seed in range(30)]
    assert len(figures.render(figures.curves(many, measures=["loss"]), "svg")) < 150_000


def test_curves_say_what_they_cannot_draw():
    with pytest.raises(DataError, match="at least one epoch"):
        figures.curves([])
    with pytest.raises(DataError, match="at least one epoch"):
        figures.curves([{"loss": []}])
    with pytest.raises(UnknownNameError, match="unknown measure 'acuracy'"):
        figures.curves([history()], measures=["acuracy"])  # type: ignore[list-item]  # wrong on purpose


def test_probabilities_are_bars_with_the_target_in_another_colour():
    p = np.array([0.7, 0.25, 0.05])
    axes = figures.probabilities(p, ["a", "b", "c"], target=1).axes[0]
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert [bar.get_width() for bar in bars] == p.tolist()
    colours = [bar.get_facecolor() for bar in bars]
    assert colours[0] == colours[2] != colours[1]
    assert {"70.0 %", "25.0 %", "5.0 %"} <= {text.get_text() for text in axes.texts}


def test_of_many_classes_the_likeliest_are_drawn():
    p = np.random.default_rng(5).dirichlet(np.ones(47))
    names = [f"c{label}" for label in range(47)]
    axes = figures.probabilities(p, names).axes[0]
    best = sorted(range(47), key=lambda label: -p[label])[: figures.MOST_BARS]
    assert [text.get_text() for text in axes.get_yticklabels()] == [names[i] for i in best]
    assert [bar.get_width() for bar in axes.patches] == [p[i] for i in best]


def test_probabilities_are_a_number_a_class():
    with pytest.raises(DataError, match=r"expected 2 numbers, one a class, got shape \(3,\)"):
        figures.probabilities(np.ones(3), ["a", "b"])
    with pytest.raises(DataError, match=r"got 1 labels and shape \(1, 3\)"):
        figures.predictions(images(1, 4, 4), [0], np.ones((1, 3)), ["a", "b"])


def test_scores_are_where_they_belong():
    axes = figures.scores(
        {"a": {0: 0.9, 1: 0.92}, "b": {1: 0.95, 2: 0.97}},
        {"a": (0.91, 0.9, 0.92), "b": (0.96, None, None)},
    ).axes[0]
    dots = [line.get_xdata() for line in axes.lines if line.get_marker() == "o"]
    assert np.allclose(dots, [[90, 92], [95, 97]])
    means = [line.get_xdata() for line in axes.lines if line.get_marker() == "D"]
    assert np.allclose(means, [[91], [96]])
    plain = [line.get_xdata() for line in axes.lines if line.get_marker() == "None"]
    assert np.allclose(plain, [[92, 95], [90, 92]])  # the pair of seed 1, and a's interval
    assert {"91.00 %", "96.00 %"} <= set(texts(axes.figure))
    with pytest.raises(DataError, match="scores: expected"):
        figures.scores({"a": {0: 1.0}}, {"b": (1.0, None, None)})


@pytest.mark.parametrize("seeds", [1, 6, 40])
def test_differences_are_where_they_belong(seeds: int):
    sizes = {seed: (seed - 2) / 1000 for seed in range(seeds)}
    axes = figures.difference(sizes, (0.002, -0.001, 0.005), "a", "b").axes[0]
    dots = next(line.get_xdata() for line in axes.lines if line.get_marker() == "o")
    assert np.allclose(dots, [100 * size for size in sizes.values()])
    low, high = axes.get_xlim()
    assert low == pytest.approx(-high)  # 0, level, in the middle
    assert high >= max(abs(np.asarray(dots)))
    assert "+0.20" in texts(axes.figure)
    assert "← a ahead" in axes.get_xlabel()


def test_no_difference_at_all_can_be_drawn():
    figure = figures.difference({0: 0.0}, (0.0, None, None), "a", "b")
    assert figure.axes[0].get_xlim() == (-1, 1)
    with pytest.raises(DataError, match="at least one seed"):
        figures.difference({}, (0.0, None, None), "a", "b")


LONG = ("a-model-with-a-very-long-name-that-goes-on-and-on-and-on-to-63ch", "W" * 64, "c3")


def equal(share: float) -> dict[str, list[float]]:
    return {"loss": [1.0] * 3, "accuracy": [share] * 3, "val_accuracy": [share] * 3}


def of_long_names() -> dict[str, Figure]:
    runs = {name: {0: 0.9, 1: 0.92} for name in LONG}
    interval = (0.91, 0.9, 0.92)
    change = {name: {"x": [interval] * 2} for name in LONG}
    return {
        "scores": figures.scores(runs, dict.fromkeys(LONG, interval)),
        "difference": figures.difference({0: 0.01}, interval, *LONG[:2]),
        "difference of one": figures.difference({0: 0.01}, interval, LONG[2], LONG[0]),
        "curves": figures.curves([history()], name=LONG[0]),
        "wide curves": figures.curves([history()], name=LONG[1]),
        "fit": figures.fit([history(9)], LONG[0]),
        "wide fit": figures.fit([history(9)], LONG[1]),
        "a fit": figures.fit([history(9)], "a name of some length"),
        "reliability": figures.reliability({name: [((0.3,), (0.4,), (3,))] for name in LONG}),
        "coverage": figures.coverage([0.5, 1.0], {name: [interval] * 2 for name in LONG}),
        "many": figures.coverage([0.5, 1.0], {f"{n} {LONG[0]}": [interval] * 2 for n in range(20)}),
        "changes": figures.small_multiples({"x": ("px", (0, 1))}, change),
        "many changes": figures.small_multiples(
            {"x": ("px", (0, 1))}, {f"{n} {LONG[0]}": change[LONG[0]] for n in range(20)}
        ),
        "many reliable": figures.reliability(
            {f"{n} {LONG[0]}": [((0.3,), (0.4,), (3,))] for n in range(7)}
        ),
    }


def shown_texts(figure: Figure) -> list[Text]:
    """All texts that have been laid out, but for ticks beyond the axes, which are not drawn."""
    hidden = [axes for axes in figure.axes if not axes.get_visible()]
    ticks = {
        text
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        for text in (tick.label1, tick.label2)
    }
    return [
        text
        for text in figure.findobj(Text)
        if text.get_text() and text.get_visible() and text.axes not in hidden and text not in ticks
    ]


def test_no_text_of_a_long_name_is_cut_or_lies_on_another():
    for kind, figure in of_long_names().items():
        figure.set_dpi(72)
        figures.render(figure, "svg")
        texts_shown = shown_texts(figure)
        boxes = [text.get_window_extent() for text in texts_shown]
        for text, box in zip(texts_shown, boxes, strict=True):
            assert box.x0 >= 0, (kind, text.get_text())
            assert box.y0 >= 0, (kind, text.get_text())
            assert box.x1 <= figure.bbox.width, (kind, text.get_text())
            assert box.y1 <= figure.bbox.height + 1, (kind, text.get_text())
        for (one, first), (other, second) in itertools.combinations(
            zip(texts_shown, boxes, strict=True), 2
        ):
            assert not first.padded(-1).overlaps(second.padded(-1)), (
                kind,
                one.get_text(),
                other.get_text(),
            )


def test_many_models_do_not_make_a_figure_wider():
    bins = [((0.3,), (0.4,), (3,))]
    assert figures.reliability({str(n): bins for n in range(40)}).get_figwidth() < 12


def test_names_under_bars_do_not_lie_on_each_other():
    names = [f"class number {label}" for label in range(300)]
    figure = figures.class_counts({"train": [3] * 300}, names)
    figures.render(figure, "svg")
    labels = figure.axes[0].get_xticklabels()
    boxes = [text.get_window_extent() for text in labels]
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
    step = 300 // len(labels) + 1
    assert [text.get_text() for text in labels] == names[::step]
    assert figure.axes[0].get_xlabel() == f"One class in {step} is named"


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_equal_shares_have_a_scale_of_their_own(share: float):
    interval = (share, share, share)
    for kind, (low, high) in {
        "scores": figures.scores({"a": {0: share, 1: share}}, {"a": interval}).axes[0].get_xlim(),
        "curves": figures.curves([equal(share)]).axes[1].get_ylim(),
        "coverage": figures.coverage([0.5, 1.0], {"a": [interval] * 2}).axes[0].get_ylim(),
    }.items():
        assert 0 <= low <= 100 * share <= high <= 100, kind
        assert high - low >= 5 - 1e-9, kind
    low, high = figures.fit([equal(share)]).axes[1].get_ylim()
    assert low <= -2
    assert high >= 2


def test_shares_that_are_nearly_equal_are_not_torn_apart():
    values = {"a": {0: 0.97, 1: 0.9701}}
    low, high = figures.scores(values, {"a": (0.97005, None, None)}).axes[0].get_xlim()
    assert high - low == pytest.approx(0.5)
    low, high = figures.scores({"a": {0: 0.9, 1: 1.0}}, {"a": (0.95, 0.8, 1.04)}).axes[0].get_xlim()
    assert high == pytest.approx(104)  # an interval is not cut
    assert low < 80


def test_a_difference_of_a_hundred_points_is_written_out():
    figure = figures.difference({0: 1.0}, (1.0, None, None), "a", "b")
    figures.render(figure, "svg")
    labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert {"+100", "−100", "0"} <= set(labels)


def test_what_comes_of_rounding_is_no_difference():
    figure = figures.difference({0: 1e-17, 1: 0.0}, (5e-18, None, None), "a", "b")
    assert figure.axes[0].get_xlim() == (-1, 1)


# Confusion


@given(
    matrix=hnp.arrays(
        np.int64, st.integers(1, 6).map(lambda k: (k, k)), elements=st.integers(0, 2000)
    )
)
@settings(max_examples=15, deadline=None)
def test_a_confusion_matrix_shows_whole_numbers_in_their_cells(matrix: np.ndarray):
    axes = figures.confusion(matrix, [f"c{i}" for i in range(len(matrix))]).axes[0]
    shown = {
        (int(y), int(x)): text.get_text() for text in axes.texts for x, y in [text.get_position()]
    }
    assert shown == {cell: str(count) for cell, count in np.ndenumerate(matrix)}
    picture = np.asarray(axes.images[0].get_array())
    for text in axes.texts:
        x, y = text.get_position()
        background = "#" + "".join(f"{round(255 * part):02x}" for part in picture[int(y), int(x)])
        assert figures.contrast(background, text.get_color()) >= 4.5
    assert axes.get_xlabel() == "Predicted"
    assert axes.get_ylabel() == "Target"


def test_a_large_confusion_matrix_leaves_zeros_empty():
    axes = figures.confusion(np.eye(47, dtype=np.int64) * 3, ["c"] * 47).axes[0]
    assert [text.get_text() for text in axes.texts] == ["3"] * 47


def many_classes(classes: int) -> np.ndarray:
    """Counts with mistakes nearly everywhere: the most that there can be to draw."""
    counts = np.random.default_rng(1).integers(0, 3, (classes, classes))
    counts[np.diag_indices(classes)] = 90
    return counts


@pytest.mark.parametrize("classes", [20, 47, 75, 100, 300])
def test_a_confusion_matrix_stays_within_2400_pixels(classes: int):
    names = [f"the class of number {label}" for label in range(classes)]
    figure = figures.confusion(many_classes(classes), names)
    size = png_size(figures.render(figure, "png"))
    assert max(size) <= 2400
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in axes.get_yticklabels()]
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
    boxes = [text.get_window_extent() for text in axes.get_xticklabels()]
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
    # A number is in its cell and can be read, or is not there.
    cell = axes.get_window_extent().width / classes
    assert bool(axes.texts) == (classes < 75)
    assert all(text.get_fontsize() >= 4.5 for text in axes.texts)
    assert all(text.get_window_extent().width < cell for text in axes.texts[:40])


def test_names_that_are_left_out_of_a_confusion_matrix_are_said_to_be():
    axes = figures.confusion(many_classes(300), [str(label) for label in range(300)]).axes[0]
    names = [text.get_text() for text in axes.get_yticklabels()]
    step = int(names[1])
    assert step > 1
    assert names == [str(label) for label in range(0, 300, step)]
    assert axes.get_yticks().tolist() == list(range(0, 300, step))
    assert axes.get_xlabel() == f"Predicted (one class in {step} is named)"


def test_colours_of_many_classes_are_those_of_their_counts():
    counts = many_classes(120)
    picture = np.asarray(figures.confusion(counts, ["c"] * 120).axes[0].images[0].get_array())
    shares = figures.heat_shares(counts)
    for row, column in [(0, 0), (3, 5), (119, 118), (60, 7), (61, 60)]:
        expected, _ = figures.heat(float(shares[row, column]), diagonal=row == column)
        parts = picture[row, column].tolist()
        assert "#" + "".join(f"{round(255 * part):02x}" for part in parts) == expected


def test_a_thousand_classes_are_drawn_in_half_a_gigabyte():
    code = (
        "import resource, sys; sys.path[:0] = sys.argv[1:]; import numpy as np;"
        "from inkproof import figures; from test_figures import many_classes;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "figure = figures.confusion(many_classes(1000), [f'class {n}' for n in range(1000)]);"
        "figures.render(figure, 'png');"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)"
    )
    places = [str(Path(figures.__file__).parents[2]), str(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-c", code, *places], check=True, capture_output=True, timeout=60
    )
    assert float(done.stdout) < 500  # MiB


@pytest.mark.parametrize(
    "matrix", [np.zeros((2, 3), int), np.full((2, 2), -1), np.zeros((3, 3), int)]
)
def test_a_confusion_matrix_is_square_counts(matrix):
    with pytest.raises(DataError, match=r"confusion: expected counts of shape \(2, 2\)"):
        figures.confusion(matrix, ["a", "b"])


@given(matrix=hnp.arrays(np.int64, (4, 4), elements=st.integers(0, 10**6)))
def test_shares_follow_the_counts_of_their_kind(matrix: np.ndarray):
    shares = figures.heat_shares(matrix)
    for diagonal in (True, False):
        cells = [
            (int(matrix[i, j]), float(shares[i, j]))
            for i in range(4)
            for j in range(4)
            if (i == j) == diagonal
        ]
        assert all((count == 0) == (share == 0) for count, share in cells)
        assert all(0 <= share <= 1 for _, share in cells)
        assert max(cells)[1] == (1 if max(cells)[0] else 0)
        ordered = sorted(cells)
        assert [share for _, share in ordered] == sorted(share for _, share in ordered)


def test_one_image_among_a_thousand_can_be_seen():
    matrix = np.diag([1000] * 5)
    matrix[1, 3] = 1
    matrix[2, 4] = 20
    shares = figures.heat_shares(matrix)
    for theme in ("light", "dark"):
        paper = figures.THEMES[theme].paper
        one, _ = figures.heat(float(shares[1, 3]), diagonal=False, theme=theme)
        most, _ = figures.heat(float(shares[2, 4]), diagonal=False, theme=theme)
        right, _ = figures.heat(float(shares[0, 0]), diagonal=True, theme=theme)
        assert figures.contrast(paper, most) > figures.contrast(paper, right)
        assert figures.contrast(paper, one) > 1.1
        assert figures.heat(0, diagonal=False, theme=theme)[0] == paper


@given(share=st.floats(0, 1), diagonal=st.booleans(), theme=st.sampled_from(["light", "dark"]))
def test_numbers_read_on_every_colour(share: float, diagonal: bool, theme: figures.Theme):
    background, ink = figures.heat(share, diagonal=diagonal, theme=theme)
    assert figures.contrast(background, ink) >= 4.5


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("#ffffff", "#000000", 21.0),
        ("#767676", "#ffffff", 4.54),  # the lightest grey that passes on white
        ("#777777", "#ffffff", 4.48),
        ("#0000ff", "#ffffff", 8.59),
        ("#123456", "#123456", 1.0),
    ],
)
def test_contrast_is_that_of_wcag(one: str, other: str, expected: float):
    assert figures.contrast(one, other) == pytest.approx(expected, abs=0.005)
    assert figures.contrast(other, one) == figures.contrast(one, other)


# Words


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0.0 %"),
        (1e-9, "<0.1 %"),
        (0.0004, "<0.1 %"),
        (0.0006, "0.1 %"),
        (0.5, "50.0 %"),
        (0.9994, "99.9 %"),
        (0.9996, ">99.9 %"),
        (1.0, "100.0 %"),
    ],
)
def test_a_share_is_certain_only_if_it_is(share: float, text: str):
    assert figures.share_text(share) == text


@given(text=st.text(), most=st.integers(2, 30))
def test_shortened_names_are_short_and_on_one_line(text: str, most: int):
    short = figures.shortened(text, most)
    assert len(short) <= most
    assert len(short.splitlines()) <= 1
    line = plain_text(text)
    if short != line:  # what is left of both ends, the first by at most one and its spaces longer
        head, tail = short[: short.rindex("…")], short[short.rindex("…") + 1 :]
        assert line.startswith(head)
        assert line.endswith(tail)
        assert (most - 1) // 2 - 1 <= len(tail) <= (most - 1) // 2


def test_names_that_differ_at_their_ends_stay_different():
    names = [f"a class of a long name, number {label}" for label in range(30)]
    assert len({figures.shortened(name, 14) for name in names}) == 30
    assert figures.shortened("abcdefghij", 6) == "abc…ij"


class TestEvidence:
    def test_fit_marks_the_lowest_epoch_of_each_run(self):
        one = history(6)
        one["val_loss"] = [0.5, 0.4, 0.2, 0.3, float("nan"), 0.6]
        left, right = figures.fit([one]).axes[:2]
        (mark,) = [line for line in left.lines if line.get_marker() == "v"]
        assert (float(mark.get_xdata()[0]), float(mark.get_ydata()[0])) == (3, 0.2)
        gap = 100 * (np.array(one["accuracy"]) - np.array(one["val_accuracy"]))
        drawn = [line.get_ydata() for line in right.lines if len(line.get_ydata()) == len(gap)]
        assert any(np.allclose(values, gap) for values in drawn)

    def test_fit_of_one_measure_is_that_panel(self):
        both = figures.fit([history(9)], "net")
        for place, measure in enumerate(("loss", "gap")):
            one = figures.fit([history(9)], "net", measures=[measure])
            (axes,) = one.axes
            assert axes.get_title(loc="left") == both.axes[place].get_title(loc="left")
            assert len(axes.lines) == len(both.axes[place].lines)
            assert axes.get_ylim() == both.axes[place].get_ylim()
            assert ("its lowest validation loss" in texts(one)) == (measure == "loss")
        with pytest.raises(UnknownNameError, match=r"unknown measure 'lose'.*Did you mean 'loss'"):
            figures.fit([history()], measures=["lose"])

    def test_fit_without_validation(self):
        assert figures.fit([{"loss": [0.5, 0.4]}]).axes

    def test_reliability_draws_every_bin(self):
        figure = figures.reliability({"a": [((0.3, 0.9), (0.4, 0.85), (3, 900))]})
        drawn = {
            (round(float(x), 6), round(float(y), 6))
            for line in figure.axes[0].lines
            if line.get_marker() == "o"
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        }
        assert drawn == {(30.0, 40.0), (90.0, 85.0)}
        assert "mathdefault" not in " ".join(t.get_text() for t in figure.findobj(Text))

    def test_small_multiples_have_a_panel_a_change(self):
        figure = figures.small_multiples(
            {f"change {n}": ("px", (0, 1, 2)) for n in range(5)},
            {"a": {f"change {n}": [(0.9, 0.8, 1.0)] * 3 for n in range(5)}},
        )
        titled = [axes for axes in figure.axes if axes.get_title(loc="left")]
        assert len(titled) == 5
        assert list(titled[2].lines[0].get_ydata()) == pytest.approx([90, 90, 90])

    def test_refuses(self):
        with pytest.raises(DataError, match="fit: expected histories of at least one epoch"):
            figures.fit([])
        with pytest.raises(DataError, match="reliability: expected at least one run"):
            figures.reliability({"a": []})
        with pytest.raises(DataError, match="coverage: expected 2 accuracies"):
            figures.coverage([0.5, 1.0], {"a": [(1.0, None, None)]})
        with pytest.raises(DataError, match="small_multiples: expected at least one change"):
            figures.small_multiples({}, {})
        with pytest.raises(DataError, match="a: expected 2 accuracies for x, got 0"):
            figures.small_multiples({"x": ("px", (0, 1))}, {"a": {}})
