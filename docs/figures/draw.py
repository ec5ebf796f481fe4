"""Draw the figures of the book: python docs/figures/draw.py

Each figure is a function that returns SVG for one theme. It is written as NAME.svg and NAME-dark.svg; a page shows
`../figures/NAME.svg`, and the book takes the other file in its dark theme. Numbers come from the files that were measured.
"""

import json
import math
import tomllib
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 520  # of a figure in pixels: narrow, so that the letters stay legible on a telephone
FONT = 'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"'

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1b1f24",
    "quiet": "#515962",
    "blue": "#dceaff",
    "blue line": "#0b5cad",
    "green": "#dcf5e3",
    "green line": "#17692f",
    "orange": "#fff0d4",
    "orange line": "#8a5200",
    "grey": "#f0f1f3",
    "grey line": "#6b7480",
}
DARK = {
    "paper": "#131416",
    "ink": "#e8eaed",
    "quiet": "#b3bac2",
    "blue": "#14304f",
    "blue line": "#7cb7ff",
    "green": "#143821",
    "green line": "#74d291",
    "orange": "#3f2c0b",
    "orange line": "#f2bd63",
    "grey": "#26292d",
    "grey line": "#98a1ab",
}


@dataclass
class Figure:
    """A drawing of a given height in the colors of a theme. All coordinates are in pixels, from the upper left corner."""

    title: str
    height: int
    colors: dict[str, str]
    parts: list[str] = field(default_factory=list)

    def text(
        self, x: float, y: float, text: str, size: int = 15, color: str = "ink", anchor: str = "start", weight=400
    ):
        """One line of text whose baseline is at y."""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{self.colors[color]}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(text)}</text>'
        )

    def box(self, x: float, y: float, width: float, height: float, color: str, lines: tuple[str, ...] = ()):
        """A box with lines of text in its middle; the first one is bold."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{self.colors[color]}" '
            f'stroke="{self.colors[f"{color} line"]}" stroke-width="1.5"/>'
        )
        top = y + height / 2 - 10 * len(lines) + 15
        for number, line in enumerate(lines):
            self.text(
                x + width / 2, top + 20 * number, line, 15 if number else 16, "ink", "middle", 400 if number else 700
            )

    def arrow(self, x: float, y: float, x_end: float, y_end: float):
        """A straight arrow."""
        self.parts.append(
            f'<path d="M{x:g} {y:g} L{x_end:g} {y_end:g}" stroke="{self.colors["grey line"]}" stroke-width="2" '
            'fill="none" marker-end="url(#tip)"/>'
        )

    def line(
        self, start: tuple[float, float], end: tuple[float, float], color: str, dashes: str = "none", width: float = 1.5
    ):
        """A straight line in a color of the theme."""
        self.parts.append(
            f'<path d="M{start[0]:.1f} {start[1]:.1f} L{end[0]:.1f} {end[1]:.1f}" stroke="{self.colors[color]}" '
            f'stroke-width="{width:g}" stroke-dasharray="{dashes}" fill="none"/>'
        )

    def circle(self, center: tuple[float, float], radius: float, color: str, filled: bool = False):
        """A circle, as an outline or filled."""
        self.parts.append(
            f'<circle cx="{center[0]:.1f}" cy="{center[1]:.1f}" r="{radius:g}" stroke="{self.colors[color]}" '
            f'stroke-width="1.5" fill="{self.colors[color] if filled else "none"}"/>'
        )

    def svg(self) -> str:
        color = self.colors["grey line"]
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" '
                f'height="{self.height}" role="img" {FONT}>',
                f"<title>{escape(self.title)}</title>",
                '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
                f'<path d="M0 0 L8 4 L0 8 z" fill="{color}"/></marker></defs>',
                f'<rect width="{WIDTH}" height="{self.height}" fill="{self.colors["paper"]}"/>',
                *self.parts,
                "</svg>\n",
            ]
        )


def short(number: float) -> str:
    """A number with one digit, such as 7e-7."""
    return f"{number:.0e}".replace("e-0", "e-")


# ---------------------------------------------------------------- figures


def manifest_to_machines(colors: dict[str, str]) -> Figure:
    f = Figure("From the manifest to the lock, the environments and the machines", 500, colors)
    f.box(110, 12, 300, 78, "blue", ("Manifest: pixi.toml", "what you ask for:", "numpy >=2, four platforms"))
    f.arrow(260, 92, 260, 142)
    f.text(274, 122, "pixi lock: solves once", 15, "quiet")
    f.box(
        110,
        146,
        300,
        78,
        "orange",
        ("Lock: pixi.lock", "the exact packages, each with", "its checksum, for each platform"),
    )
    for x in (88, 260, 432):
        f.arrow(260, 226, x, 284)
    f.text(410, 250, "pixi install", 15, "quiet")
    f.text(410, 268, "--locked", 15, "quiet")
    environments = (("cpu", "linux-64"), ("cpu", "osx-arm64"), ("cuda12", "linux-64-cuda12"))
    machines = (("Your laptop", "Linux"), ("A colleague's", "Mac"), ("A server with", "an NVIDIA GPU"))
    for x, environment, machine in zip((8, 180, 352), environments, machines, strict=True):
        f.box(x, 288, 160, 66, "green", environment)
        f.arrow(x + 80, 356, x + 80, 404)
        f.box(x, 408, 160, 66, "grey", machine)
    f.text(8, 492, "Environments: folders in .pixi/, never committed", 14, "quiet")
    return f


def sameness(colors: dict[str, str]) -> Figure:
    """The largest differences in benchmarks/determinism.json (processors) and benchmarks/gpu.json (GPU and CPU)."""
    rows = json.loads((ROOT / "benchmarks/determinism.json").read_text(encoding="utf-8"))["rows"]
    kept = sum(row["same_bytes"] for row in rows if row["must_not"])
    effects = [row["effect"] for row in rows if row["exercise"] == 2 and row["change"].startswith("PyTorch without")]
    weights = max(effect["weights.safetensors"] for effect in effects)
    accuracy = max(effect["test_accuracy"] for effect in effects)
    gpu = json.loads((ROOT / "benchmarks/gpu.json").read_text(encoding="utf-8"))["rows"]
    logits = next(
        row["values"]["comparison"] for row in gpu if row["check"] == "CPU and GPU logits, by exercise 4's script"
    )
    steps = (
        ("Same bits", "green", ("Same lock, seed and processor:", f"{kept} of {kept} repetitions, killed ones as well")),
        ("1e-6", "blue", ("The GPU instead of the CPU:", f"logits differ by {short(logits['largest_relative'])} of the largest")),
        ("1e-5", "blue", ("PyTorch, NumPy or JAX:", f"logits differ by less than {short(logits['tolerance']['relative'])}")),
        ("Same accuracy", "orange", ("Training on another processor:", f"weights differ by {weights:.1f}, accuracy by {100 * accuracy:.1f} %")),
    )  # fmt: skip
    f = Figure("The ladder of sameness: same bits, 1e-6, 1e-5, same accuracy", 380, colors)
    f.text(8, 22, "How much alike are two results?", 16, "ink", weight=700)
    for number, (name, color, lines) in enumerate(steps):
        y = 38 + 78 * number
        f.box(8, y, 156, 66, color, (name,))
        f.text(180, y + 27, lines[0], 15, "ink", weight=700)
        f.text(180, y + 49, lines[1], 15)
        if number:
            f.arrow(86, y - 11, 86, y - 1)
    f.text(8, 368, "Measured: benchmarks/determinism.json, benchmarks/gpu.json", 13, "quiet")
    return f


def driver_toolkit_package(colors: dict[str, str]) -> Figure:
    f = Figure(
        "Driver, CUDA libraries and packages: what belongs to the machine, and what to the environment", 442, colors
    )
    f.text(8, 24, "In the environment: Pixi installs it", 15, "green line", weight=700)
    f.box(8, 36, 504, 48, "grey", ("Your script",))
    f.box(8, 92, 504, 66, "green", ("Framework", "PyTorch or JAX: a build for CUDA 12, or for the CPU"))
    f.box(8, 166, 504, 66, "green", ("CUDA libraries (runtime)", "cudart, cuBLAS, cuDNN: pinned by cuda-version"))
    f.parts.append(f'<path d="M8 250 H512" stroke="{colors["ink"]}" stroke-width="2" stroke-dasharray="7 5"/>')
    f.text(8, 276, "On the machine: Pixi only compares it", 15, "orange line", weight=700)
    f.box(8, 288, 504, 66, "orange", ("Driver", "the virtual package __cuda: at least the CUDA you declare"))
    f.box(8, 362, 504, 66, "orange", ("GPU", "its compute capability: the library needs code for it"))
    return f


def two_solves(colors: dict[str, str]) -> Figure:
    f = Figure(
        "An environment with PyPI packages is solved twice: conda packages first, then PyPI packages", 470, colors
    )
    f.box(8, 12, 240, 66, "blue", ("[dependencies]", "conda-forge"))
    f.box(272, 12, 240, 66, "blue", ("[pypi-dependencies]", "an index of wheels"))
    f.arrow(128, 80, 128, 122)
    f.box(8, 126, 240, 66, "orange", ("First solve", "conda packages"))
    f.arrow(128, 194, 128, 234)
    f.box(8, 238, 240, 84, "green", ("Python, NumPy, ...", "fixed from now on, known to", "PyPI by their names there"))
    f.arrow(250, 280, 270, 280)
    f.arrow(392, 80, 392, 234)
    f.box(272, 238, 240, 84, "orange", ("Second solve", "wheels that fit what", "the first one chose"))
    f.text(382, 160, "waits for the", 15, "quiet", "end")
    f.text(382, 180, "first solve", 15, "quiet", "end")
    f.arrow(128, 324, 200, 372)
    f.arrow(392, 324, 320, 372)
    f.box(110, 376, 300, 48, "grey", ("pixi.lock: both lists",))
    f.text(8, 456, "The second solve never changes a conda package. It fails instead.", 14, "quiet")
    return f


def downloads(colors: dict[str, str]) -> Figure:
    """From exercise.toml, which a test compares with the lock."""
    sizes: dict[str, tuple[int, str]] = {}
    for path in sorted(ROOT.glob("exercise-*/exercise.toml")):
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
        for name, mib in settings["download_mib"].items():
            numbers = sizes.get(name, (0, ""))[1]
            sizes[name] = (mib, f"{numbers}{', ' if numbers else ''}{path.parent.name.split('-')[1]}")
    f = Figure("Download of each environment on Linux, from conda-forge", 66 + 44 * len(sizes), colors)
    f.text(8, 22, "Download on Linux x86-64, in MiB", 16, "ink", weight=700)
    largest = max(mib for mib, _ in sizes.values())
    for number, (name, (mib, exercises)) in enumerate(sorted(sizes.items(), key=lambda item: item[1])):
        y = 40 + 44 * number
        color = "orange" if "cuda" in name else "blue"
        length = 270 * mib / largest
        f.text(8, y + 15, name, 15, "ink", weight=700)
        f.text(8, y + 33, f"exercise {exercises}", 13, "quiet")
        f.box(150, y + 3, length, 28, color)
        f.text(158 + length, y + 22, f"{mib:,}")
    f.text(8, f.height - 8, "pypi-mixed: without 3 GB of wheels from PyTorch's index", 13, "quiet")
    return f


def layers(colors: dict[str, str]) -> Figure:
    """From benchmarks/image_layers.json: the downloads of the locked packages, and the files that are copied."""
    sizes = json.loads((ROOT / "benchmarks/image_layers.json").read_text(encoding="utf-8"))
    cpu, cuda = (f"{sizes['environment'][name]['bytes'] / 2**20:,.0f} MiB" for name in ("cpu", "cuda12"))
    manifest = f"{sizes['copied']['pixi.toml pixi.lock'] / 2**20:.1f} MiB"
    scripts = sum(size for name, size in sizes["copied"].items() if not name.startswith("pixi.toml"))
    f = Figure("The layers of an image with their sizes: a change of the script repeats only the last one", 496, colors)
    f.text(8, 24, "Build stage", 16, "ink", weight=700)
    f.text(276, 24, "Image", 16, "ink", weight=700)
    f.box(8, 38, 236, 66, "grey", ("Base with Pixi", "not in the image"))
    f.box(8, 114, 236, 66, "blue", ("pixi.toml, pixi.lock", "COPY: only these two files"))
    f.box(8, 190, 236, 86, "green", ("The environment", "pixi install --locked"))
    f.box(276, 38, 236, 66, "grey", ("Base without Pixi", "its size is not in the lock"))
    f.box(276, 190, 236, 86, "green", ("The environment", f"cpu: {cpu}", f"cuda12: {cuda}"))
    f.box(276, 286, 236, 66, "blue", ("pixi.toml, pixi.lock", f"COPY: {manifest}"))
    f.box(276, 362, 236, 66, "orange", ("Your scripts", f"COPY, last: {scripts / 2**20:.1f} MiB"))
    f.arrow(246, 233, 274, 233)
    for y, line in ((306, "Another script:"), (326, "only the last layer is new.")):
        f.text(8, y, line, 15, "quiet")
    for y, line in ((356, "Another pixi.lock: all but"), (376, "the base is new.")):
        f.text(8, y, line, 15, "quiet")
    f.text(8, 406, "Another base: all is new.", 15, "quiet")
    f.text(8, 456, "Sizes of environments: their downloads, added up from pixi.lock;", 13, "quiet")
    f.text(8, 476, "on a disk they are larger. Measured: benchmarks/image_layers.json", 13, "quiet")
    return f


def stopped_run(colors: dict[str, str]) -> Figure:
    """From benchmarks/stopped_run.json: the loss of each epoch, on a logarithmic axis."""
    run = json.loads((ROOT / "benchmarks/stopped_run.json").read_text(encoding="utf-8"))
    n, stop = len(run["uninterrupted"]), len(run["before"])
    f = Figure(f"The loss of a training that is stopped after {stop} of {n} epochs and resumed", 436, colors)
    left, top, bottom, step = 78, 74, 344, 420 / (n - 1)

    def point(epoch: int, loss: float) -> tuple[float, float]:
        """Pixels for an epoch, counted from 1, and a loss from 1e-4 to 10."""
        return left + 6 + step * (epoch - 1), bottom - (bottom - top) * (math.log10(loss) + 4) / 5

    f.text(8, 24, "Training loss of exercise 2, stopped and resumed", 16, "ink", weight=700)
    for power in range(-4, 2):
        y = point(1, 10.0**power)[1]
        f.line((left, y), (512, y), "grey")
        f.text(left - 8, y + 5, f"{10.0**power:g}", 14, "quiet", "end")
    for epoch in range(1, n + 1):
        f.text(point(epoch, 1)[0], bottom + 22, str(epoch), 14, "quiet", "middle")
    f.text(left + 217, bottom + 44, "epoch", 14, "quiet", "middle")
    x = (point(stop, 1)[0] + point(stop + 1, 1)[0]) / 2
    f.line((x, top - 22), (x, bottom), "orange line", "6 4")
    f.text(x + 8, top - 10, f"stopped: exit code {run['exit_code_after_signal']}; then --resume", 13, "orange line")
    for epoch, loss in enumerate(run["uninterrupted"], 1):
        f.circle(point(epoch, loss), 8, "grey line")
    losses = list(enumerate(run["before"] + run["after"], 1))
    for part, color in ((losses[:stop], "blue line"), (losses[stop:], "green line")):
        for (epoch, loss), (next_epoch, next_loss) in zip(part, part[1:], strict=False):
            f.line(point(epoch, loss), point(next_epoch, next_loss), color, width=2.5)
        for epoch, loss in part:
            f.circle(point(epoch, loss), 3.5, color, filled=True)
    f.circle((16, 411), 8, "grey line")
    same = "the same weights, bit for bit" if run["same_weights"] else "other weights"
    f.text(32, 416, f"the same training without a stop: {same}", 14)
    return f


FIGURES = {
    "manifest-to-machines": manifest_to_machines,
    "sameness": sameness,
    "driver-toolkit-package": driver_toolkit_package,
    "two-solves": two_solves,
    "downloads": downloads,
    "layers": layers,
    "stopped-run": stopped_run,
}


def files() -> dict[str, str]:
    """Each file of this folder that is drawn, with its contents."""
    found = {}
    for name, draw in FIGURES.items():
        found[f"{name}.svg"] = draw(LIGHT).svg()
        found[f"{name}-dark.svg"] = draw(DARK).svg()
    return found


if __name__ == "__main__":
    for file, text in files().items():
        (Path(__file__).parent / file).write_text(text, encoding="utf-8", newline="\n")
