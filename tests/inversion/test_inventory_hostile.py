"""Workbooks that were made to do harm: refused in a sentence, before they have filled the memory."""

import tracemalloc
import zipfile

import openpyxl
import pytest

from inversion.inventory import balance, workbook
from inversion.inventory.entry import InventoryError

LAUGHS = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha">%s]>' % b"".join(
    b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 50) for i in range(6)
)
OUTSIDE = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY g SYSTEM "file:///etc/passwd">]>'
SHEET = "xl/worksheets/sheet1.xml"


def altered(tmp_path, change, part=SHEET):
    """A workbook one part of which was changed by hand."""
    book = openpyxl.Workbook()
    book.active.append(["coal", 1])
    book.save(tmp_path / "plain.xlsx")
    with (
        zipfile.ZipFile(tmp_path / "plain.xlsx") as plain,
        zipfile.ZipFile(tmp_path / "made.xlsx", "w", zipfile.ZIP_DEFLATED) as made,
    ):
        for name in plain.namelist():
            content = plain.read(name)
            made.writestr(name, change(content) if name == part else content)
    return tmp_path / "made.xlsx"


def declared(declaration, content):
    return declaration + content.partition(b"?>")[2].replace(b"<v>1</v>", b"<v>&g;</v>")


def read(file):
    with workbook.opened(file) as book:
        return [workbook.rows(book[name]) for name in book.sheetnames]


@pytest.mark.parametrize("declaration", [LAUGHS, OUTSIDE])
@pytest.mark.parametrize("reader", [read, balance._cells])
def test_entities_are_neither_multiplied_nor_fetched(tmp_path, declaration, reader):
    file = altered(tmp_path, lambda content: declared(declaration, content))
    with pytest.raises(InventoryError, match=r"made\.xlsx.*declares entities, as no spreadsheet does"):
        reader(*((file,) if reader is read else (file, None)))


@pytest.mark.parametrize("declaration", [LAUGHS, OUTSIDE])
def test_nor_where_they_are_hidden_from_the_first_look(tmp_path, declaration):
    """In UTF-16, where no byte search finds them: the parser itself refuses."""
    file = altered(tmp_path, lambda content: declared(declaration, content).decode().encode("utf-16"))
    with pytest.raises(InventoryError, match=r"made\.xlsx.*It is no xlsx workbook"):
        read(file)


@pytest.mark.parametrize("reader", [read, balance._cells])
def test_a_zip_that_unpacks_without_end_is_not_unpacked(tmp_path, reader):
    file = altered(tmp_path, lambda content: content.replace(b"<v>1</v>", b"<v>1</v>" + b" " * 300_000_000))
    assert file.stat().st_size < 1_000_000
    tracemalloc.start()
    with pytest.raises(InventoryError, match=r"unpacks to 300,0\d\d,\d\d\d bytes, at most 268,435,456 are read"):
        reader(*((file,) if reader is read else (file, None)))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20_000_000


def test_a_zip_that_lies_about_its_size_is_cut_short_there(tmp_path):
    file = altered(tmp_path, lambda content: content.replace(b"<v>1</v>", b"<v>1</v>" + b" " * 300_000_000))
    with zipfile.ZipFile(file) as archive:
        size = archive.getinfo(SHEET).file_size.to_bytes(4, "little")
    file.write_bytes(file.read_bytes().replace(size, (1000).to_bytes(4, "little")))
    with pytest.raises(InventoryError, match="It is no xlsx workbook"):
        read(file)
