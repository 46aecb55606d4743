"""A sample on disk: an image file, and what annotates it once the image's size is known."""

import dataclasses
from collections.abc import Callable

from kerastransfer.data.dataset import Example, part
from kerastransfer.data.images import Source, photo_size, read_image

# (size (H, W), the fields that are wanted) to an example that has them; it may have more, which are left out.
Annotate = Callable[[tuple[int, int], frozenset[str]], Example]


@dataclasses.dataclass(frozen=True)
class Reader:
    """What a layout gives as `Sample.read`: it reads the whole example when called, and annotations alone on demand.

    fields: those of the sample.
    """

    image: Source
    annotate: Annotate
    fields: frozenset[str]

    def __call__(self) -> Example:
        """The whole example. Raises BadSampleError."""
        pixels = read_image(self.image)
        return {"image": pixels} | self._annotated(pixels.shape[:2], self.fields)

    def annotations(self, fields: frozenset[str]) -> Example:
        """Of the example those `fields` that it has, and its `size`: of the image, the header alone is read."""
        size = photo_size(self.image)
        return {"size": size} | self._annotated(size, fields & self.fields)

    def _annotated(self, size: tuple[int, int], fields: frozenset[str]) -> Example:
        return part(self.annotate(size, fields), fields) if fields else {}
