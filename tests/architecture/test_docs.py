"""The pages agree with the code: their Python runs, and nothing public goes unmentioned.

How a page is run, from its first Python block to its last:

* A block fenced as `python` is executed; all blocks of a page share one namespace.
  `await` may stand at its top level.
* A block in a comment, `<!-- python` to `-->`, is executed too and not shown: for what a
  reader need not see, such as an assertion.
* A block with a title (`python title="test_orders.py"`) is a file in the page's own folder.
  It is imported, so that later blocks can import from it; a `test_*.py` or `conftest.py` is
  left to pytest, which is run on the folder when the page ends.
* `__file__` is the page.  Where it names AUTHKIT_REDIS_URL, that is the address of an empty
  Redis server, which the page has for itself.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

import authkit
from authkit import errors
from tests.redis.servers import RedisServer, redis_server_binaries

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^(?P<indent>[ \t]*)(?:```+ *(?P<info>.*)|<!-- *(?P<hidden>python) *)\n"
    r"(?P<code>(?:.*\n)*?)"
    r"[ \t]*(?:```+|-->)[ \t]*$",
    re.MULTILINE,
)
TITLE = re.compile(r'title="([\w.]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block of code of a page."""

    language: str
    title: str | None
    line: int
    code: str


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        info = found["hidden"] or found["info"]
        title = TITLE.search(info)
        yield Block(
            language=info.partition(" ")[0],
            title=title and title[1],
            line=text.count("\n", 0, found.start("code")),
            code=textwrap.dedent(found["code"]),
        )


def run_page(page: Path, folder: Path) -> None:
    """Runs the Python of one page; a failure names the page's own line."""
    # A module of its own: annotations and dataclasses look their names up in sys.modules.
    module = ModuleType(f"page_{page.stem.replace('-', '_')}")
    module.__file__ = str(page)
    sys.modules[module.__name__] = module
    with asyncio.Runner() as runner:
        for block in blocks_of(page):
            if block.language != "python":
                continue
            if block.title is not None:
                (folder / block.title).write_text(block.code, encoding="utf-8")
                if not re.match(r"test_|conftest", block.title):
                    importlib.import_module(Path(block.title).stem)
                continue
            code = compile(
                "\n" * block.line + block.code,
                str(page),
                "exec",
                flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
                dont_inherit=True,
            )
            if code.co_flags & inspect.CO_COROUTINE:
                runner.run(eval(code, module.__dict__))
            else:
                exec(code, module.__dict__)
    if any(folder.glob("test_*.py")):
        command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


def page_id(page: Path) -> str:
    """The page as its path in the tree."""
    return str(page.relative_to(ROOT))


@contextmanager
def redis_for(page: Path) -> Iterator[str | None]:
    """The address of a Redis server, if the page's Python needs one."""
    if not any(
        block.language == "python" and "AUTHKIT_REDIS_URL" in block.code
        for block in blocks_of(page)
    ):
        yield None
        return
    if not redis_server_binaries():
        pytest.skip("this machine has no redis-server; ./scripts/test installs one")
    with RedisServer() as server:
        yield server.url


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_the_python_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a reader copies from a page works as it stands there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before, environment = set(sys.modules), dict(os.environ)
    try:
        with redis_for(page) as url:
            if url is not None:
                monkeypatch.setenv("AUTHKIT_REDIS_URL", url)
            run_page(page, tmp_path)
    finally:
        for name in set(sys.modules) - before:
            if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
        # What a page sets is for that page.
        os.environ.clear()
        os.environ.update(environment)


def test_a_page_that_does_not_work_fails(tmp_path: Path) -> None:
    """Shown, hidden and awaiting blocks are all run, and an error names the line of the page."""
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nimport asyncio\n\nawait asyncio.sleep(0)\n```\n\n<!-- python\n1 / 0\n-->\n"
    )
    with pytest.raises(ZeroDivisionError) as failure:
        run_page(page, tmp_path)
    assert (failure.traceback[-1].path, failure.traceback[-1].lineno) == (page, 7)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_no_python_of_a_page_goes_unrun(page: Path) -> None:
    """Fences are closed, and Python is fenced as `python`, the name under which it is run."""
    fences = re.findall(r"^[ \t]*```+ *(\w*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) % 2 == 0, "a fence is not closed"
    languages = set(fences[::2])
    assert "" not in languages, "a fence names no language"
    assert not languages & {"py", "python3", "pycon", "ipython"}


@pytest.mark.parametrize("name", authkit.__all__)
def test_every_name_of_the_facade_is_documented(name: str) -> None:
    """Some page names each thing that `import authkit` offers."""
    assert any(re.search(rf"\b{name}\b", page.read_text(encoding="utf-8")) for page in PAGES)


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_documented(name: str) -> None:
    """The page of the errors names each class."""
    page = ROOT / "docs" / "reference" / "errors.md"
    assert f"`{name}`" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("floor", sorted({p.stem for p in (ROOT / "authkit").glob("[!_]*")}))
def test_every_floor_is_on_the_map(floor: str) -> None:
    """The page of the architecture names each file and folder of authkit."""
    page = ROOT / "docs" / "explanation" / "architecture.md"
    assert re.search(rf"\b{floor}\b", page.read_text(encoding="utf-8"))
