"""What a file holds, by its first bytes: names of files do not tell."""

SIGNATURE_BYTES = 64
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
)
# Brands of ISO base media files (ISO/IEC 14496-12 and 23008-12; MIAF), the narrower ones first.
_BRANDS = (
    ({b"avif", b"avis"}, "AVIF"),
    ({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"}, "HEIC"),
    ({b"crx "}, "CR3"),
)


def format_name(start: bytes) -> str | None:
    """Name the format of a file that starts with these bytes (``SIGNATURE_BYTES``), if it is known."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    if start[4:8] == b"ftyp":
        return _media(start)
    if start[:2] == b"BM" and start[6:10] == b"\0\0\0\0":
        return "BMP"
    return next((name for signature, name in _SIGNATURES if start.startswith(signature)), None)


def _media(start: bytes) -> str:
    size = min(int.from_bytes(start[:4], "big"), len(start))
    brands = {start[8:12]} | {start[place : place + 4] for place in range(16, size - 3, 4)}
    return next((name for known, name in _BRANDS if known & brands), "MP4")
