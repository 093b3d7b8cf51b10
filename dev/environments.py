"""Install the development environments, each in a directory of its own below .venv.

    .venv/dev                       planemo, pytest and the oracle; runs the tests
    .venv/galaxy                    the local Galaxy, and the local Tool Shed
    .venv/pulsar                    the local remote job server
    .venv/packages/NAME/VERSION     one for each requirement in a tool's XML

Versions are pinned in dev/requirements. Existing installations are kept, so a second run does
nothing. Only the standard library is used here, as this runs before anything is installed.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.sax.saxutils import quoteattr

PROJECT = Path(__file__).resolve().parent.parent
REQUIREMENTS = PROJECT / "dev" / "requirements"
VENV = PROJECT / ".venv"
PACKAGES = VENV / "packages"

OLDEST_PYTHON = (3, 11)
SECONDS_BETWEEN_NEWS = 10


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="+", choices=["dev", "galaxy", "packages", "pulsar"])
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(f"Python {sys.version.split()[0]} is too old: 3.11 or newer is needed")
    for part in parser.parse_args(argv).parts:
        if part == "packages":
            install_packages()
        else:
            lock = REQUIREMENTS / f"{part}.txt"
            install(VENV / part, ["--requirement", str(lock)], pinned_by=lock.read_text())


# Conda's names of packages that have other names on PyPI; tools require them by conda's names.
CONDA_NAMES = {
    "matplotlib": "matplotlib-base",
    "igraph": "python-igraph",
    "opencv-python-headless": "py-opencv",
}
# Conda packages that are not on PyPI; here the program of this machine is used, in any version.
PROGRAMS = {"openssl": "3.6.2"}


def conda_name_and_version(requirement: str) -> tuple[str, str]:
    """The name and version by which a tool requires NAME==VERSION of PyPI."""
    name, version = requirement.split("==")
    if name == "opencv-python-headless":  # whose last number counts the builds for PyPI
        version = version.rpartition(".")[0]
    return CONDA_NAMES.get(name, name), version


def install_packages() -> None:
    """Give each pinned requirement of the tools an environment that Galaxy finds by its name.

    Galaxy's `galaxy_packages` resolver looks for NAME/VERSION/env.sh and sources it. Each package
    is isolated: a tool that imports what its XML does not require fails here, as it would for a
    user.
    """
    lock = REQUIREMENTS / "tools.txt"
    for requirement in pinned_requirements(REQUIREMENTS / "tools.in"):
        name, version = conda_name_and_version(requirement)
        home = PACKAGES / name / version
        pinned_by = f"{requirement}\n{lock.read_text()}"
        install(home, [requirement, "--constraint", str(lock)], pinned_by)
        site_packages = next(home.glob("lib/python3*/site-packages"))
        (home / "env.sh").write_text(
            f"export PATH={shlex.quote(str(home / 'bin'))}:$PATH\n"
            f"export PYTHONPATH={shlex.quote(str(site_packages))}${{PYTHONPATH:+:$PYTHONPATH}}\n"
        )
    for name, version in PROGRAMS.items():
        program = shutil.which(name)
        if not program:
            sys.exit(f"{name} is not installed (on Debian and Ubuntu: apt install {name})")
        home = PACKAGES / name / version
        home.mkdir(parents=True, exist_ok=True)
        folder = shlex.quote(str(Path(program).parent))
        (home / "env.sh").write_text(f"export PATH=$PATH:{folder}\n")


def write_dependency_resolvers(path: Path) -> None:
    """Write a configuration for Galaxy or Pulsar: requirements are below .venv/packages."""
    base = quoteattr(str(PACKAGES))
    path.write_text(
        f"<dependency_resolvers><galaxy_packages base_path={base}/></dependency_resolvers>"
    )


def pinned_requirements(path: Path) -> list[str]:
    """The requirements in a file, without its comments."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def install(home: Path, pip_arguments: list[str], pinned_by: str) -> None:
    """Make the environment `home`, unless it exists and was made from the same pins.

    The stamp is written last, so an interrupted installation is started again.
    """
    stamp = home / "installed-from.txt"
    wanted = f"# Python {sys.version}\n{pinned_by}"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    name = home.relative_to(VENV)
    print(f"Installing {name} into {home}", flush=True)
    shutil.rmtree(home, ignore_errors=True)
    run_with_news([sys.executable, "-m", "venv", str(home)], name)
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--progress-bar", "off"]
    run_with_news([*pip, *pip_arguments], name)
    stamp.write_text(wanted)


def run_with_news(command: list[str], name: Path) -> None:
    """Run a long command and report progress; if it fails, exit with its output."""
    start = time.monotonic()
    next_news = SECONDS_BETWEEN_NEWS
    with (
        tempfile.NamedTemporaryFile("w") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        while process.poll() is None:
            time.sleep(0.1)
            elapsed = time.monotonic() - start
            if elapsed > next_news:
                last = (
                    Path(output.name).read_text().strip().rpartition("\n")[2].partition(" (from")[0]
                )
                print(f"  {name}: {elapsed:.0f} s, {last.strip()[:80]}", flush=True)
                next_news += SECONDS_BETWEEN_NEWS
        lines = Path(output.name).read_text().splitlines()
    if process.returncode:
        print(*lines[-20:], sep="\n", file=sys.stderr)
        hint = ""
        if any("ensurepip" in line for line in lines):
            hint = " (on Debian and Ubuntu: apt install python3-venv)"
        sys.exit(f"Installing {name} failed with status {process.returncode}{hint}")


if __name__ == "__main__":
    main()
