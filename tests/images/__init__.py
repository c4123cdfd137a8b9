"""The product's images, and those of the programs that end-to-end tests run in pods: built here, kept as archives.

`python -m tests.images` is `make images`; the end-to-end tests call `product_images` and `program_image`.
"""

from tests.images.archive import Archive, program_image
from tests.images.builders import Builder, choose, product_images

__all__ = ["Archive", "Builder", "choose", "product_images", "program_image"]
