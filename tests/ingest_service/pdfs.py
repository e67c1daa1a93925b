"""Small PDFs, made where they are needed."""

import zlib
from collections.abc import Sequence

from fpdf import FPDF

BODY = 10.0
LEADING = 12.0


class Paper:
    """A PDF that is written line by line at given places, points from the upper left corner."""

    def __init__(self) -> None:
        self.pdf = FPDF(unit="pt", format="A4")
        self.pdf.set_auto_page_break(False)

    def page(self) -> None:
        self.pdf.add_page()

    def line(self, x: float, y: float, text: str, size: float = BODY, bold: bool = False, font: str = "Times") -> None:
        self.pdf.set_font(font, "B" if bold else "", size)
        self.pdf.text(x, y, text)

    def lines(self, x: float, y: float, texts: Sequence[str]) -> float:
        """Lines of running text, one below the other; returns where the next one would stand."""
        for text in texts:
            self.line(x, y, text)
            y += LEADING
        return y

    def data(self) -> bytes:
        return bytes(self.pdf.output())


def plain(*pages: str) -> bytes:
    """A PDF of pages of one line each."""
    paper = Paper()
    for text in pages:
        paper.page()
        paper.line(70, 300, text)
    return paper.data()


def of_objects(*objects: bytes) -> bytes:
    """A PDF of these objects, the first of which is its catalogue."""
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + end


def bomb(mebibytes: int) -> bytes:
    """A small file with one page whose content is `mebibytes` of text operators."""
    shown = b"(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa) Tj "
    content = zlib.compress(b"BT /F1 12 Tf 72 720 Td " + shown * ((mebibytes << 20) // len(shown)) + b"ET", 9)
    return of_objects(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    )
