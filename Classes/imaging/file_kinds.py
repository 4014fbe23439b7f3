"""Identify a file that is not a supported image by its first bytes, so that an error can name it."""

import base64
import binascii

from Classes.common.translation import Message

# Kinds of compressed files, and of images that were encoded as text to be sent; see uploads.py.
COMPRESSED = ("gzip", "bzip2", "XZ", "Zstandard")
ENCODED = ("data: URI", "base64 text", "JSON", "multipart form data")

_SAVE = Message("save it as PNG, TIFF or JPEG")
_PAGE = Message("save the image itself, not the page or the answer around it")
_BODY = Message("send the image's own bytes, such as with curl --data-binary @FILE")
_EXPORT = Message("export the image as PNG, TIFF or JPEG")
_UNPACK = Message("unpack it first")
_FRAME = Message("save a single frame as PNG")

# (offset, bytes, kind, what to do)
_MAGIC = (
    (0, b"\xff\x0a", "JPEG XL", _SAVE),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL", _SAVE),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000", _SAVE),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000", _SAVE),
    (0, b"\xff\xd8\xff\xf7", "JPEG-LS", _SAVE),
    (0, b"II\xbc", "JPEG XR", _SAVE),
    (0, b"8BPS", "Photoshop", _SAVE),
    (0, b"gimp xcf", "GIMP", _SAVE),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5", _SAVE),
    (0, b"SIMPLE  =", "FITS", _SAVE),
    (0, b"ZISRAWFILE", "Zeiss CZI", _SAVE),
    (0, b"\x70\0\0\0", "Leica LIF", _SAVE),
    (0, b"\xda\xce\xbe\x0a", "Nikon ND2", _SAVE),
    (0, b"\0\0\1\0", Message("Windows icon"), _SAVE),
    (0, b"v/1\x01", "OpenEXR", _SAVE),
    (0, b"#?RADIANCE", "Radiance HDR", _SAVE),
    (128, b"DICM", "DICOM", Message("export the image as PNG or TIFF")),
    (0, b"%PDF", "PDF", _EXPORT),
    (0, b"%!PS", "PostScript", _EXPORT),
    (0, b"\x1f\x8b", "gzip", Message("unpack it first; {body}, without Content-Encoding", body=_BODY)),
    (0, b"PK\x03\x04", "ZIP", Message("unpack it first and send the images one by one")),
    (0, b"PK\x05\x06", "ZIP", Message("unpack it first and send the images one by one")),
    (0, b"7z\xbc\xaf\x27\x1c", "7-Zip", _UNPACK),
    (0, b"Rar!\x1a\x07", "RAR", _UNPACK),
    (0, b"BZh", "bzip2", _UNPACK),
    (0, b"\xfd7zXZ\0", "XZ", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "Zstandard", _UNPACK),
    (257, b"ustar", "tar", _UNPACK),
    (0, b"\x1aE\xdf\xa3", Message("video"), _FRAME),
    (0, b"\0\5\x16\7", "AppleDouble", Message("send the file of the same name without ._ in front")),
    (0, b"version https://git-lfs", "Git LFS pointer", Message("run git lfs pull to get the image itself")),
)

# Brands of the ISO base media file format, which HEIC, AVIF and MP4 share.
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"crx ": "Canon raw"}
_HEIF = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")

# First bytes of the supported image formats.
_IMAGES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"II+\0", b"MM\0+")


def identify(head: bytes) -> tuple[str, str] | None:
    """Return the kind of a file that no decoder reads.

    Args:
      head: its first bytes, at least 512 if it has that many.
    Returns:
      (kind, what to do), such as ("HEIC", "save it as PNG, TIFF or JPEG"); None if it is unknown.
    """
    if head[4:8] == b"ftyp":
        return _media(head)
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"WAVE"):
        return Message("video"), _FRAME
    for offset, magic, kind, advice in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind, advice
    return _text(head)


def _media(head: bytes) -> tuple[str, str]:
    brand = head[8:12].lower()
    compatible = {head[place : place + 4].lower() for place in range(8, min(len(head), 64), 4)}
    if brand in _BRANDS:
        return _BRANDS[brand], _SAVE
    if compatible & {b"avif", b"avis"}:
        return "AVIF", _SAVE
    if brand in _HEIF or compatible & set(_HEIF):
        return "HEIC", Message("{save}; a phone can be set to take JPEG (Most Compatible)", save=_SAVE)
    return Message("video"), _FRAME


def _text(head: bytes) -> tuple[str, str] | None:
    if not head.strip(b"\0"):
        return Message("only zero bytes"), Message("copy it again")
    # UTF-16 of a Windows editor; the rest of this function expects ASCII.
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head[2:].replace(b"\0", b"")
    words = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n\"'")
    lower = words[:512].lower()
    if lower.startswith(b"data:"):
        return Message("data: URI"), Message("decode its base64 part; {body}", body=_BODY)
    if _is_base64_image(words):
        return Message("base64 text"), Message("decode it first; {body}", body=_BODY)
    if words.startswith(b"--") and b"content-disposition:" in lower:
        return Message("multipart form data"), Message(
            "send it with Content-Type: multipart/form-data, such as with curl -F file=@FILE"
        )
    if b"<svg" in lower:
        return "SVG", Message("export it as PNG")
    if lower.startswith(b"<") and (b"<html" in lower or b"<!doctype" in lower or b"<body" in lower):
        return "HTML", _PAGE
    if lower.startswith(b"<"):
        return "XML", _PAGE
    if lower[:1] in (b"{", b"[") and b'"' in lower:
        return "JSON", _PAGE
    if words and all(byte >= 32 or byte in b"\t\r\n" for byte in words[:512]):
        try:
            words[:512].decode("utf-8", "strict" if len(words) < 512 else "ignore")
            return Message("text"), Message("check that it is the image's own file")
        except UnicodeDecodeError:
            return None
    return None


def _is_base64_image(text: bytes) -> bool:
    """Return whether a text begins with an image in base64, in either of its two alphabets."""
    start = b"".join(text[:128].split())[:64].translate(bytes.maketrans(b"-_", b"+/"))
    try:
        decoded = base64.b64decode(start[: len(start) // 4 * 4], validate=True)
    except binascii.Error:
        return False
    return len(decoded) > 12 and decoded.startswith(_IMAGES)
