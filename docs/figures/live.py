"""Draw the animation of a scan whose contour fills up: python docs/figures/live.py

It runs `workshop scan --executor processes --workers 4 --upper-limit --live FIGURE` and keeps each figure that --live
draws; here after every result, not only in a twentieth of the time. Every second figure becomes a layer of
docs/exercise-1-live.svg, whose style shows one after the other, three times. If you have set your system to reduce motion,
you see only the last.
"""

import base64
import io
import tempfile
from pathlib import Path

from PIL import Image

from workshop.scan import command, progress

SECONDS, REST = 0.6, 4.0  # between two figures, and how long the last one stays
ROUNDS = 3
WIDTH, COLORS = 600, 24  # of each figure: pixels, and colours of its palette


def frames_of_a_scan(folder: Path) -> list[Image.Image]:
    """The figures that --live draws, one after the other."""
    frames = []

    class KeepsFigures(progress.Progress):
        def draw(self, figure: Path) -> None:
            super().draw(figure)
            self.next_figure = 0.0  # draw again after the next result
            if figure.exists() and (not frames or len(self.entries) > counts[-1]):
                frames.append(Image.open(figure).convert("RGB"))
                counts.append(len(self.entries))

    counts: list[int] = []
    command.Progress = KeepsFigures
    words = ["--executor", "processes", "--workers", "4", "--upper-limit"]
    command.main([*words, "--live", str(folder / "live.png"), "--output", str(folder / "scan")])
    return frames


def as_webp(frame: Image.Image) -> str:
    """The figure in a small palette, as the text of a data URL."""
    size = (WIDTH, round(WIDTH * frame.height / frame.width))
    content = io.BytesIO()
    frame.resize(size, Image.Resampling.LANCZOS).quantize(COLORS, Image.Quantize.MAXCOVERAGE).convert("RGB").save(
        content, "WebP", lossless=True
    )
    return base64.b64encode(content.getvalue()).decode()


def animation(frames: list[Image.Image]) -> str:
    """SVG with the figures as layers, each of which appears over those before it."""
    height = round(WIDTH * frames[0].height / frames[0].width)
    total = SECONDS * len(frames) + REST
    style, layers = [f"image {{ animation: {total:g}s step-end {ROUNDS} }}"], []
    for i, frame in enumerate(frames):
        style.append(f"@keyframes f{i} {{ 0% {{ opacity: 0 }} {100 * SECONDS * i / total:.2f}% {{ opacity: 1 }} }}")
        layers.append(
            f'<image width="{WIDTH}" height="{height}" style="animation-name: f{i}" '
            f'href="data:image/webp;base64,{as_webp(frame)}"/>'
        )
    style.append("@media (prefers-reduced-motion: reduce) { image { animation: none } }")
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>An exclusion contour that fills up while a scan runs</title>",
        "<style>",
        *style,
        "</style>",
        *layers,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        Path(__file__).parents[1].joinpath("exercise-1-live.svg").write_text(
            animation(frames_of_a_scan(Path(scratch))[::-2][::-1]), encoding="utf-8"
        )
