"""What pyproject.toml cannot say: the folder configs/ of the repository is segkit/configs in a wheel."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CONFIGS = sorted(str(path) for path in Path("configs").rglob("*.py"))


class BuildWithConfigs(build_py):
    """Copies the configs as data: their folders are no packages. An editable install reads them where they are."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, target in zip(CONFIGS, self._targets()):
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def get_source_files(self) -> list[str]:
        """The files of a source distribution."""
        return [*super().get_source_files(), *CONFIGS]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *([] if self.editable_mode else self._targets())]

    def _targets(self) -> list[str]:
        return [str(Path(self.build_lib) / "segkit" / source) for source in CONFIGS]


setup(cmdclass={"build_py": BuildWithConfigs})
