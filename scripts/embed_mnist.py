"""Put the four published MNIST files into the package: verified, and unchanged where packed.

    python scripts/embed_mnist.py FOLDER

FOLDER holds the original files, with or without ``.gz``.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path

from inkproof.data.mnist import FILES, FOLDER, MnistFile
from inkproof.errors import DataError
from inkproof.storage import write_bytes


def packed(folder: Path, file: MnistFile) -> bytes:
    """Give a file's bytes as gzip; what is packed already stays as it is.

    Raises
    ------
    DataError : it is missing, or not the published one
    """
    found = [folder / f"{file.name}.gz", folder / file.name]
    path = next((path for path in found if path.is_file()), None)
    if path is None:
        raise DataError(f"{found[0]}: not found")
    data = path.read_bytes()
    content = gzip.decompress(data) if path.suffix == ".gz" else data
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise DataError(f"{path}: expected sha256 {file.sha256}, got {digest}")
    return data if path.suffix == ".gz" else gzip.compress(content, 9, mtime=0)


def main(arguments: list[str]) -> int:
    """Run the script; 0 if all four files are in place, 1 if not, 2 on wrong usage."""
    if len(arguments) != 1:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    try:
        contents = {file.name: packed(Path(arguments[0]), file) for file in FILES.values()}
    except (DataError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for name, data in contents.items():
        write_bytes(FOLDER / f"{name}.gz", data)
        sys.stdout.write(f"{name}.gz: {len(data):,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
