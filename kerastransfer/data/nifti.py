"""NIfTI files, read with nibabel and turned to one orientation."""

import zlib
from pathlib import Path

import numpy as np

from kerastransfer.errors import UserError

SUFFIXES = (".nii.gz", ".nii")
# In voxels: labels that are nearer to their image than this are on it.
SAME_PLACE = 0.5


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The voxels (D, H, W) of a file, scaled as its header says, and the matrix (4, 4) from their indices to
    millimetres.

    Axes are flipped and permuted to nibabel's canonical orientation: from left to right, from posterior to anterior and
    from inferior to superior. An oblique volume keeps its angle. Raises UserError if nibabel is missing, and for a
    damaged file or header.
    """
    try:
        import nibabel
    except ImportError:
        raise UserError(
            f"{path}: NIfTI files need nibabel; install it with pip install 'kerastransfer[volumes]'"
        ) from None
    try:
        image = nibabel.load(path)
        if image.ndim == 4 and image.shape[3] == 1:
            image = image.slicer[..., 0]
        if image.ndim != 3:
            raise UserError(f"{path} has {image.ndim} axes, {image.shape}; give volumes of 3, with one channel")
        if not _turnable(image.affine):
            raise UserError(f"{path}: its header does not say where left, front and top are; repair its affine matrix")
        image = nibabel.as_closest_canonical(image)
        return np.asanyarray(image.dataobj), image.affine
    except (OSError, EOFError, ValueError, zlib.error, nibabel.filebasedimages.ImageFileError) as error:
        raise UserError(f"{path} cannot be read as NIfTI ({error}); copy the file again") from error


def spacing(matrix: np.ndarray) -> tuple[float, float, float]:
    """The sides of a voxel in millimetres."""
    return tuple(float(side) for side in np.linalg.norm(matrix[:3, :3], axis=0))


def check_place(path: Path, image: np.ndarray, labels: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raises UserError if the matrices of an image and its labels put a corner of the volume at different places."""
    corners = np.array(np.meshgrid(*[(0, side - 1) for side in shape])).reshape(3, -1)
    apart = np.linalg.norm((image - labels)[:3] @ np.vstack([corners, np.ones(corners.shape[1])]), axis=0).max()
    if apart > SAME_PLACE * min(spacing(image)):
        raise UserError(
            f"{path}: its header puts the labels up to {apart:.3g} mm from their image; resample the labels onto the "
            "image, or copy the image's affine matrix if the voxels do correspond"
        )


def _turnable(matrix):
    return np.isfinite(matrix).all() and np.linalg.matrix_rank(matrix[:3, :3]) == 3
