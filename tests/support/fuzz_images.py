"""A coverage-guided search for bytes that Images does not take or refuse as it should; by hand, with atheris installed.

pip install atheris                                             # Linux; no part of the project's requirements
python3 -m tests.support.fuzz_images -runs=100000 -max_len=4096 FOLDER  # FOLDER keeps the inputs that led somewhere new

It stops at the first find and writes it to crash-…; what it finds becomes a case of tests/imaging/test_decode.py.
"""

import pathlib
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["PIL", "Classes"]):
    import PIL.Image

    from Classes.common.errors import ImageError
    from Classes.imaging import decode

    # The decoders are imported when the first image is opened: now, so that they are watched too.
    PIL.Image.init()

LIMITS = decode.DecodeLimits(max_pixels=100_000)


def one(data):
    """Any bytes are uint8 [H, W, 3] or ImageError, and Data.py's check lets nothing pass that is refused later."""
    found = []
    for look in (decode.decode_image, decode.decode_thumbnail):
        try:
            image = look(data, limits=LIMITS, **({"side": 64} if look is decode.decode_thumbnail else {"at_least": 64}))
        except ImageError:
            found.append(None)
        else:
            image = image[1] if look is decode.decode_thumbnail else image
            assert image.dtype == "uint8" and image.ndim == 3 and image.shape[2] == 3, image.shape
            found.append(image)
    assert (found[0] is None) == (found[1] is None), (
        "one of decode_image and decode_thumbnail refuses what the other takes"
    )


def main():
    from tests.imaging import test_decode as test_images

    with tempfile.TemporaryDirectory() as folder:
        for name, make in test_images.SEEDS.items():
            (pathlib.Path(folder) / name).write_bytes(make())
        atheris.Setup([*sys.argv, folder], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
