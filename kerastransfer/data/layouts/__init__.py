"""The layouts on disk, in the order in which `auto` tries them: the first that recognises a folder reads it.

Each is a module with `recognises(folder) -> bool`, `read(folder) -> Dataset` and FORM, the files it needs in a few
words. Reading only lists files and parses annotations; `Sample.read` (a `reading.Reader`) decodes pixels. `tfds` reads
names, not folders.
"""

from kerastransfer.data.layouts import (
    camvid,
    coco,
    cub,
    dsb2018,
    folder_per_class,
    images_masks,
    oxford_pet,
    penn_fudan,
    voc,
    yolo_txt,
)

LAYOUTS = {
    "coco": coco,
    "voc": voc,
    "penn_fudan": penn_fudan,
    "oxford_pet": oxford_pet,
    "cub": cub,
    "camvid": camvid,
    "yolo_txt": yolo_txt,
    "dsb2018": dsb2018,
    "images_masks": images_masks,
    "folder_per_class": folder_per_class,
}
