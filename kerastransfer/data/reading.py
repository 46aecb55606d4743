"""A sample on disk: an image file, and what annotates it once the image's size is known.

Cameras store a photo as the sensor lay and say in its EXIF how to turn it; viewers, and most tools for annotation, show
it turned. So a photo is read upright, as prediction reads it, where its annotations fit it so: where a json or an xml
states the upright size or none, or a mask has it; boxes of YOLO txt, which state none, are always taken for what was
shown. Only where the annotations fit nothing but the stored pixels is the photo left as it is stored. Both are noted in
`Dataset.notes`.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from kerastransfer.data.dataset import BadSampleError, Example, part, remark
from kerastransfer.data.images import Source, read_header, read_photo, upright

# (size (H, W), the fields that are wanted) to an example that has them; it may have more, which are left out. Raises
# BadSampleError, also where the annotations are of an image of another size.
Annotate = Callable[[tuple[int, int], frozenset[str]], Example]


@dataclasses.dataclass(frozen=True)
class Reader:
    """What a layout gives as `Sample.read`: it reads the whole example when called, and annotations alone on demand.

    fields: those of the sample. beside: a file of annotations of this image alone, where there is one.
    """

    image: Source
    annotate: Annotate
    fields: frozenset[str]
    beside: Path | None = None

    def __call__(self) -> Example:
        """The whole example. Raises BadSampleError."""
        return self.example(self.fields)

    def example(self, fields: frozenset[str]) -> Example:
        """The image, and those `fields` that the sample has. Raises BadSampleError."""
        stored, orientation = read_photo(self.image)
        # All fields tell which way the photo stands, also those that are not asked for.
        wanted = self.fields if orientation > 1 else fields & self.fields
        turned, example = self._annotated(stored.shape[:2], orientation, wanted)
        if orientation > 1 and turned:
            remark("turned upright by the EXIF orientation, as viewers show it")
        elif orientation > 1:
            remark(
                "the EXIF orientation is ignored, because the annotations fit the pixels as they are stored; "
                "prediction turns such a photo, so store it upright, with annotations to match"
            )
        return {"image": upright(stored, orientation) if turned else stored} | example

    def annotations(self, fields: frozenset[str]) -> Example:
        """Of the example those `fields` that it has, and its `size`: of the image, the header alone is read."""
        size, orientation = read_header(self.image)
        wanted = (fields if orientation == 1 else self.fields) & self.fields
        turned, example = self._annotated(size, orientation, wanted)
        size = size[::-1] if turned and orientation >= 5 else size
        return {"size": size} | part(example, fields & self.fields)

    def _annotated(self, size: tuple[int, int], orientation: int, fields: frozenset[str]) -> tuple[bool, Example]:
        """Whether the annotations are those of the upright photo, and what they are."""
        if not fields:
            return True, {}
        shown = size[::-1] if orientation >= 5 else size
        try:
            return True, part(self.annotate(shown, fields), fields)
        except BadSampleError:
            if shown == size:
                raise
            try:
                return False, part(self.annotate(size, fields), fields)
            except BadSampleError:
                pass
            raise
