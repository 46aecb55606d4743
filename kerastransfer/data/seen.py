"""Images that the check of a data set has decoded, kept for the training that would decode them again."""

import dataclasses
import threading

import numpy as np

from kerastransfer.data.letterbox import placement


@dataclasses.dataclass(eq=False)
class Seen:
    """Images at the size at which a training keeps them. It may be used by several threads.

    size: (H, W). resize: "stretch" or "letterbox". room: bytes that they may take; further images are not kept.
    """

    size: tuple[int, int]
    resize: str
    room: int
    _images: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    _left: int = dataclasses.field(init=False)
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._left = self.room // (self.size[0] * self.size[1] * 3)

    def keep(self, name: str, image: np.ndarray) -> None:
        """Keep the image (H, W, 3) uint8 of the sample of this name."""
        with self._lock:
            if not self._left:
                return
            self._left -= 1
        self._images[name] = placement(image.shape[:2], self.size, self.resize).image(image)

    @property
    def bytes(self) -> int:
        """How much the images take."""
        return sum(image.nbytes for image in list(self._images.values()))

    def take(self, name: str, size: tuple[int, int], resize: str) -> np.ndarray | None:
        """The image of a sample, which is then forgotten; None where it was not kept, or not in this way."""
        if (size, resize) != (self.size, self.resize):
            return None
        return self._images.pop(name, None)

    def forget(self) -> None:
        """Forget all images."""
        self._images.clear()
