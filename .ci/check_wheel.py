"""Check that the built wheel holds what a user needs to run it, and nothing else."""

import sys
import zipfile
from pathlib import Path

NEEDED = (
    "persona/__main__.py",
    "persona/demo/history.jsonl",
    "persona/demo/demo.gguf",
    "persona/adapters/sqlite/migrations/0001_chat.sql",
    "actors/kernel/__init__.py",
    "pipelines/__main__.py",
)
PACKAGES = ("persona/", "actors/", "pipelines/")
SIZE_LIMIT_MB = 15.0


def problems(wheel: Path) -> list[str]:
    """Return what is wrong with a wheel, one line each; empty when it is fine."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    found = [f"{name} is missing" for name in NEEDED if name not in names]
    found += [
        f"{name} does not belong in it" for name in names if not name.startswith(PACKAGES) and ".dist-info/" not in name
    ]
    found += [f"{name} is a leftover" for name in names if "__pycache__" in name or name.endswith((".pyc", ".log"))]
    size = wheel.stat().st_size / 1e6
    if size > SIZE_LIMIT_MB:
        found.append(f"it has {size:.1f} MB, more than {SIZE_LIMIT_MB} MB")
    return found


def main() -> int:
    """Check every wheel in the folder given; return the exit code."""
    wheels = sorted(Path(sys.argv[1]).glob("*.whl"))
    if len(wheels) != 1:
        print(f"expected one wheel in {sys.argv[1]}, found {len(wheels)}")
        return 1
    found = problems(wheels[0])
    print("\n".join(found) if found else f"{wheels[0].name}: {wheels[0].stat().st_size / 1e6:.1f} MB, complete")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
