"""Constants that several packages must agree on; the docstring of `kerastransfer` has the vocabulary."""

# In `segmentation`: a pixel that is ignored in training and in scoring.
VOID = 255
# In the crop of a mask (`data.mask_crops`): the mask covers the whole cell.
FULL = 255
# The grey around letterboxed images, and around images that augmentation zooms out: Darknet's medium grey.
GREY = 128
# Decoded images are kept larger than the input by this factor, so that crops are not blurred.
LARGER = 1.2
# Letters of the name of a class, and pixels of a side of an image, that files may give.
LONGEST_NAME = 200
LARGEST_SIDE = 100_000
# Suffixes of the pictures that are looked for in a folder.
PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
# The drawn scenes that --data names, alone or with a number of images (toy:480).
DRAWN = ("toy", "toy-hard")
