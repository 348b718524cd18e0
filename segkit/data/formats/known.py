"""The label formats that segkit reads and writes, and finding out which one a folder is in."""

from segkit.data.formats.base import LabelReader, LabelWriter
from segkit.data.formats.cvat import CvatReader
from segkit.data.formats.darwin import DarwinReader
from segkit.data.formats.labelme import LabelmeReader, LabelmeWriter
from segkit.data.formats.labelstudio import LabelStudioReader, LabelStudioWriter
from segkit.data.formats.nifti import NiftiReader
from segkit.data.formats.polygons import PolygonsReader
from segkit.data.formats.rle_csv import RleCsvReader
from segkit.data.formats.supervisely import SuperviselyReader

READERS: tuple[type[LabelReader], ...] = (
    LabelmeReader,
    CvatReader,
    LabelStudioReader,
    SuperviselyReader,
    DarwinReader,
    PolygonsReader,
    RleCsvReader,
    NiftiReader,
)
"""In the order in which they are asked: the more particular format first."""

WRITERS: tuple[type[LabelWriter], ...] = (
    LabelmeWriter,
    LabelStudioWriter,
)
