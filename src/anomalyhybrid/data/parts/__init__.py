"""Rendered industrial parts: pictures with true depth, contours and defects, by numpy and OpenCV alone."""

from anomalyhybrid.data.parts.dataset import write_dataset
from anomalyhybrid.data.parts.defects import DEFECTS
from anomalyhybrid.data.parts.products import PRODUCTS
from anomalyhybrid.data.parts.render import RenderedPart, render, render_pair

__all__ = ["DEFECTS", "PRODUCTS", "RenderedPart", "render", "render_pair", "write_dataset"]
