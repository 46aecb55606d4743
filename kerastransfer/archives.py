"""Zip archives that may come from anywhere."""

import zipfile

CHUNK = 1_000_000


def refuse_large(archive: zipfile.ZipFile, name: str, most: int) -> None:
    """Raises ValueError if a file in an archive has more than `most` bytes, or another compression than zip's own;
    KeyError if it is not there; BadZipFile if it is not what the archive states. No more than CHUNK bytes of it are in
    memory at a time."""
    told = archive.getinfo(name)
    # bzip2 and LZMA are unpacked in pieces of any size, however little of them is read.
    if told.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed in another way than by zip's own method")
    if told.file_size > most:
        raise ValueError(f"more than {most:,} bytes of {name}")
    if told.compress_type == zipfile.ZIP_DEFLATED:
        # An archive may lie about the size: what is read ends there, and its checksum is another.
        with archive.open(name) as file:
            while file.read(CHUNK):
                pass
