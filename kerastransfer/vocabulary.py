"""Constants that several rooms must agree on; the package's own docstring has the words."""

# In `segmentation`: a pixel that is ignored in training and in scoring.
VOID = 255
# In a mask's crop (`data.mask_crops`): the mask covers the whole cell.
FULL = 255
# What surrounds a letterboxed image, and an image that augmentation zooms out: Darknet's half grey.
GREY = 128
# Suffixes of the picture files that a folder is searched for.
PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
