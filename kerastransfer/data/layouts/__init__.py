"""The layouts on disk. `recognise` chooses the one that a folder is read by: of those that name their own folders and
files, or where none of these fits, of the WIDE ones; if two fit, it names both.

Each is a module with `recognises(folder) -> bool`, `read(folder) -> Dataset` and FORM, the files it needs in a few
words. Reading only lists files and parses annotations; `Sample.read` (a `reading.Reader`) decodes pixels. `tfds` reads
names, not folders.
"""

from kerastransfer.data.layouts import (
    box_table,
    camvid,
    coco,
    createml,
    cub,
    cvat_xml,
    dsb2018,
    folder_pairs,
    folder_per_class,
    image_list,
    images_masks,
    labelme,
    masks_beside,
    oxford_pet,
    penn_fudan,
    supervisely,
    via,
    voc,
    voc_xml,
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
    "cvat_xml": cvat_xml,
    "via": via,
    "createml": createml,
    "supervisely": supervisely,
    "voc_xml": voc_xml,
    "labelme": labelme,
    "box_table": box_table,
    "image_list": image_list,
    "folder_pairs": folder_pairs,
    "masks_beside": masks_beside,
    "folder_per_class": folder_per_class,
}
# Layouts of any folders' names.
WIDE = {"voc_xml", "labelme", "box_table", "image_list", "folder_pairs", "masks_beside", "folder_per_class"}
