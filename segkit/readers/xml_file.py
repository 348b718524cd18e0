"""XML of other programs: elements, attributes and text; no document type, no entities, nothing from elsewhere."""

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from segkit.files import MAX_DEPTH, DataError, read_bytes, shortened


class _Refused(Exception):
    pass


def read_xml(path: str | Path) -> Element:
    """Reads the root element of an XML file.

    A document type is refused, since its entities can unfold to any size or name other files; labels need none.

    Args:
        path: the file.

    Raises:
        DataError: it is missing, no XML, nested too deeply, or declares a document type.
    """
    return parse_xml(read_bytes(path), path)


def parse_xml(content: bytes, source: str | Path) -> Element:
    """Reads the root element of an XML text; see read_xml.

    Args:
        content: the text in any encoding that it declares.
        source: the file, for the error.

    Raises:
        DataError: see read_xml.
    """
    builder, depth = TreeBuilder(), 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise _Refused(f"nested more than {MAX_DEPTH} deep")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: Any) -> int:
        raise _Refused("it declares a document type or entities, which labels need not: remove <!DOCTYPE ...>")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, _Refused, ValueError, LookupError) as error:
        raise DataError(f"{source}: no usable XML ({shortened(error, 200)}); export it again") from error
    return builder.close()
