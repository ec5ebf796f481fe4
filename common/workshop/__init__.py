"""What the exercises share: data, devices, run records, figures, and the reading of Pixi workspaces."""

__version__ = "0.1.0"
