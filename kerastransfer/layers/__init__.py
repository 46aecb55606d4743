"""Layers that Keras lacks. Importing this package registers them, so that saved models with them can be loaded."""

from kerastransfer.layers.batch_norm import BatchNorm
from kerastransfer.layers.deformable import DeformableConv2D
from kerastransfer.layers.dilated_max_pool import DilatedMaxPool
from kerastransfer.layers.locally_connected import LocallyConnected
from kerastransfer.layers.multiple_of import MultipleOf
from kerastransfer.layers.pyramid_roi_align import PyramidRoIAlign
from kerastransfer.layers.roi_align import RoIAlign
from kerastransfer.layers.rois import Fold, Unfold
from kerastransfer.layers.scale import Scale
from kerastransfer.layers.suppress import Suppress

__all__ = [
    "BatchNorm",
    "DeformableConv2D",
    "DilatedMaxPool",
    "Fold",
    "LocallyConnected",
    "MultipleOf",
    "PyramidRoIAlign",
    "RoIAlign",
    "Scale",
    "Suppress",
    "Unfold",
]
