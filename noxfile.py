"""The project's sessions: `python3 noxfile.py -s tests`, which needs nothing but Python, or `nox -s tests`.

Run as a script this file brings nox itself: a new enough nox that is importable takes over; otherwise nox goes into a
private virtual environment under `.nox`. Down to `import nox` everything here is standard library, and readable for a
Python that is too old to run the project, so that it can say so.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST_NOX = (2025, 2, 9)  # the first with nox.project.dependency_groups
NOX = "nox>=" + ".".join(map(str, OLDEST_NOX))


def main():
    """Hand over to nox, with the arguments of this script. Does not return."""
    if sys.version_info < (3, 11):  # noqa: UP036 - a plain `python3` may be older than the project asks for
        sys.exit("This project needs Python 3.11 or newer; this is {}.{}.".format(*sys.version_info))
    python = sys.executable if has_nox(sys.executable) else private_nox()
    command = [python, "-m", "nox", "--noxfile", str(Path(__file__).resolve()), *sys.argv[1:]]
    if os.name == "nt":  # exec would return to the shell at once there
        sys.exit(subprocess.call(command))
    os.execv(python, command)


def has_nox(python):
    """Whether this Python can import a nox that is new enough."""
    question = "from importlib.metadata import version; print(version('nox'))"
    try:
        answer = subprocess.run([python, "-c", question], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    return tuple(int(part) for part in answer.strip().split(".")[:3] if part.isdecimal()) >= OLDEST_NOX


def private_nox():
    """The Python of a virtual environment with nox, made where it is not there yet."""
    home = ROOT / ".nox" / "_nox"
    python = str(home / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    if has_nox(python):
        return python
    recipes = [([sys.executable, "-m", "venv", str(home)], [python, "-m", "pip", "install", "--quiet", NOX])]
    uv = shutil.which("uv")
    if uv:
        make = [uv, "venv", "--quiet", "--python", sys.executable, str(home)]
        recipes.insert(0, (make, [uv, "pip", "install", "--quiet", "--python", python, NOX]))
    failures = []
    for make, install in recipes:
        shutil.rmtree(home, ignore_errors=True)  # what an attempt that failed half-way has left
        failure = failure_of(make) or failure_of(install)
        if not failure:
            return python
        failures.append(failure)
    shutil.rmtree(home, ignore_errors=True)
    sys.exit(
        "Could not bring nox ({}). Install it (pipx install nox), or what is missing to do so here: "
        "uv, or on Debian and Ubuntu the package python3-venv (apt install python3-venv).".format("; ".join(failures))
    )


def failure_of(command):
    """Run a command quietly; why it failed, in one line, or an empty string."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()] or ["no output"]
    return "" if done.returncode == 0 else "{}: {}".format(" ".join(command), lines[-1])


if __name__ == "__main__":
    main()

import nox  # noqa: E402

nox.needs_version = NOX.removeprefix("nox")
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "typing", "tests"]

PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")


def group(*names: str) -> list[str]:
    """The requirements of dependency groups."""
    return list(nox.project.dependency_groups(PYPROJECT, *names))


def run_suite(session: nox.Session, *constraints: str) -> None:
    """Install everything and run the tests; what follows `--` goes to pytest."""
    session.install("-e", ".[all]", *group("test"), *constraints)
    session.run("pytest", "--numprocesses=logical", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """The whole suite, against real servers. TEST_SERVERS=bundled forces those of the wheels."""
    run_suite(session)


@nox.session(python=nox.project.python_versions(PYPROJECT))
def matrix(session: nox.Session) -> None:
    """The whole suite on each supported Python."""
    run_suite(session)


@nox.session
def lowest(session: nox.Session) -> None:
    """The whole suite on the oldest version of each dependency that pyproject.toml admits."""
    pins = str(session.env_dir / "lowest.txt")
    if session.venv_backend != "uv":
        session.install("uv")
    compiled = ("--resolution=lowest-direct", "--all-extras", "--no-header", "--no-annotate", "--quiet")
    session.run_install("uv", "pip", "compile", *compiled, "pyproject.toml", "--output-file", pins, silent=True)
    session.log(Path(pins).read_text().replace("\n", " "))
    run_suite(session, "--constraint", pins)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, likely mistakes, spelling."""
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell")


@nox.session
def typing(session: nox.Session) -> None:
    """Strict type checks of the package, and of how its users' code is typed."""
    session.install("-e", ".[all]", *group("test", "typing"))
    session.run("mypy")
    session.run("pyright")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, into `site`; a broken link or reference is an error. `-- serve` instead shows it."""
    session.install("-e", ".[all]", *group("docs"))
    session.run("mkdocs", *(session.posargs or ["build", "--strict"]), env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def benchmarks(session: nox.Session) -> None:
    """What the library costs: `tests/benchmarks/bench_*.py`; what follows `--` goes to pytest."""
    session.install("-e", ".[all]", *group("test"), *group("peers"))
    session.run("pytest", "--override-ini=python_files=bench_*.py", "--timeout=0", "tests/benchmarks", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """The example service against failing upstreams. `-- --serve` keeps it running."""
    session.install(".[fastapi,redis,sqlite]", *group("example"))
    if hasattr(os, "sync"):
        os.sync()  # what was just installed is not to be written to the disk while latencies are measured
    session.run("python", "-m", "examples.creator_service.demo", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build what is released, check it, and use the wheel alone: no extras, nothing of the checkout."""
    session.install(*group("wheel"))
    built = session.env_dir / "dist"
    shutil.rmtree(built, ignore_errors=True)
    installer = ["--installer=uv"] if session.venv_backend == "uv" else []
    session.run("python", "-m", "build", *installer, "--outdir", str(built))
    session.run("twine", "check", "--strict", *map(str, built.iterdir()))
    [file] = map(str, built.glob("*.whl"))
    session.run("check-wheel-contents", file)
    session.install("--force-reinstall", file)
    session.run("python", "-I", "-W", "error", "-c", SMOKE_TEST)


SMOKE_TEST = """
import importlib.metadata, importlib.resources, pkgutil
import creatormate_resilience as package

assert "site-packages" in package.__file__, package.__file__
assert importlib.resources.files(package).joinpath("py.typed").is_file(), "the wheel lacks py.typed"
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if "._" not in module.name:
        importlib.import_module(module.name)  # optional dependencies are not there, and no public module needs them
print("creatormate-resilience", importlib.metadata.version("creatormate-resilience"), "imports without extras")
"""
