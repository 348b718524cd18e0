"""Every reader and writer of label formats keeps the contract of segkit/data/formats/base.py."""

from segkit.data.formats.known import READERS, WRITERS


def test_names_are_given_once():
    for kinds in (READERS, WRITERS):
        names = [kind.format for kind in kinds]
        assert all(names) and len(set(names)) == len(names)


def test_a_foreign_folder_is_nobodys(tmp_path):
    (tmp_path / "notes.txt").write_text("[{\n")
    (tmp_path / "broken.json").write_text('{"shapes": [')
    (tmp_path / "broken.xml").write_text("<annotation>")
    for root in (
        tmp_path,
        tmp_path / "notes.txt",
        tmp_path / "broken.json",
        tmp_path / "broken.xml",
        tmp_path / "gone",
    ):
        assert [kind.format for kind in READERS if kind.sniff(root)] == []
