"""Readers are given damaged files: each reads one, or says in a sentence what is wrong with it.

    python -m Testing.fuzz.fuzz [--inputs N] [--seed S] [--only NAME ..] [--first I] [--keep FOLDER]

Each reader runs in a process of its own, in an empty folder, with a gigabyte of memory to take. A failure is
any other exception, a sentence that names no file or is none, a process that ends, an input that takes ten
seconds, a file or a process that the reader makes elsewhere, and code that comes out of the input.
An input comes back by the same seed and number: `--only NAME --first I --inputs 1 --keep FOLDER`.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import multiprocessing
import os
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from ctypes import c_longlong
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import pydicom  # noqa: F401  so that each process has what readers import late
import SimpleITK as sitk  # noqa: F401

from Testing.fuzz.readers import READERS, Reader

ROOT = Path(__file__).parents[2]
MEMORY = 1 << 30
"""Bytes that a reader may take beyond what the program has when it starts."""
SECONDS = 10
BAD_SEED = 3
LONGEST = 1500
"""Letters of a sentence, without the path of the file."""
_NOT_ON_A_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CODE = {"pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect"}
_CHANGES = {
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.truncate",
    "os.chmod",
}
_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Failure:
    """What a reader made of an input: its number, what happened in a line, and more of it."""

    number: int
    what: str
    details: str


def main() -> int:
    """Try the readers, print what they do, and give 1 if one of them fails."""
    names = [reader.name for reader in READERS]
    parser = argparse.ArgumentParser(description="Give damaged files to all readers.")
    parser.add_argument("--inputs", type=int, default=1000, help="for each reader; fewer for slow ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument(
        "--only", nargs="*", default=names, choices=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument("--keep", type=Path, help="folder for the inputs that failed")
    given = parser.parse_args()
    failed = False
    for reader in READERS:
        if reader.name in given.only:
            count = max(1, round(given.inputs * reader.share))
            start = time.perf_counter()
            failures = try_reader(
                reader,
                range(given.first, given.first + count),
                given.seed,
                given.keep and given.keep.resolve(),
            )
            seconds = time.perf_counter() - start
            print(f"{reader.name}: {count} inputs, {len(failures)} failures, {seconds:.0f} s", flush=True)
            _print_kinds(failures)
            failed = failed or bool(failures)
    return int(failed)


def try_reader(reader: Reader, numbers: range, seed: int, keep: Path | None = None) -> list[Failure]:
    """The inputs that a reader fails at. Where its process ends, another one goes on behind that input."""
    failures: list[Failure] = []
    at = _FORK.RawValue("q", numbers.start)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        log = Path(name) / "log"
        while at.value < numbers.stop:
            box = Path(name) / "box"
            box.mkdir()
            log.write_text("")
            rest = range(at.value, numbers.stop)
            process = _FORK.Process(target=_try_in_a_box, args=(reader, rest, seed, at, box, log, keep))
            process.start()
            _wait_for(process, at)
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            failures += [Failure(**json.loads(line)) for line in lines if line.startswith("{")]
            if process.exitcode == BAD_SEED:
                raise SystemExit(f"{reader.name}: a whole file is not read\n" + "\n".join(lines))
            if process.exitcode:
                ended = [line for line in lines if not line.startswith("{")]
                what = f"the process ended ({process.exitcode}): {ended[0] if ended else 'no word'}"
                failures.append(Failure(at.value, what, "\n".join(ended)))
                files = [path for path in box.rglob(Path(reader.file).name) if path.is_file()]
                _keep(max(files, key=lambda path: path.stat().st_mtime_ns), at.value, keep)
                at.value += 1
            shutil.rmtree(box)
    return failures


def _wait_for(process: BaseProcess, at: c_longlong) -> None:
    """End a process that does not move on, if nothing in it ends it."""
    before = -1
    while process.is_alive() and at.value != before:
        before = at.value
        process.join(3 * SECONDS)
    process.kill()
    process.join()


def _try_in_a_box(
    reader: Reader, numbers: range, seed: int, at: c_longlong, box: Path, log: Path, keep: Path | None
) -> None:
    """In a process of its own: try inputs, and write a line for each that fails."""
    sys.path = [place for place in sys.path if place]
    os.chdir(box)
    tempfile.tempdir = str(box)
    with log.open("a", encoding="utf-8", buffering=1) as words:
        os.dup2(words.fileno(), 1)
        os.dup2(words.fileno(), 2)
        faulthandler.enable(words)
        seeds = _whole_files(reader, box)
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
        outside = _watch(box)
        before = sorted(box.rglob("*"))
        for number in numbers:
            at.value = number
            path, content = damaged(reader, seeds, seed, number)
            path.write_bytes(content)
            faulthandler.dump_traceback_later(SECONDS, exit=True, file=words)
            found = [*_judged(reader, path), *outside]
            faulthandler.cancel_dump_traceback_later()
            for what, details in found:
                words.write(json.dumps({"number": number, "what": what, "details": details}) + "\n")
                _keep(path, number, keep)
            outside.clear()
        assert sorted(box.rglob("*")) == before, "files are left"
        at.value = numbers.stop


def _whole_files(reader: Reader, box: Path) -> list[tuple[Path, bytes]]:
    """Whole files, each in a folder of its own; the process ends where one is not read."""
    files = []
    for number, write in enumerate(reader.seeds):
        path = box / str(number) / reader.file
        path.parent.mkdir(parents=True)
        write(path)
        try:
            reader.read(path)
        except Exception:
            traceback.print_exc()
            sys.exit(BAD_SEED)
        files.append((path, path.read_bytes()))
    return files


def damaged(reader: Reader, seeds: list[tuple[Path, bytes]], seed: int, number: int) -> tuple[Path, bytes]:
    """The path and the content of an input."""
    chance = Random(f"{reader.name} {seed} {number}")
    path, content = chance.choice(seeds)
    return path, reader.mutate(content, chance)


def _keep(path: Path, number: int, folder: Path | None) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"{number}-{path.name}")


def _judged(reader: Reader, path: Path) -> Iterator[tuple[str, str]]:
    """What is wrong with how a reader takes a file; nothing if it reads it or refuses it in a sentence."""
    try:
        reader.read(path)
    except reader.refusal as error:
        sentence = str(error)
        said = sentence.replace(str(path), "").replace(str(path.parent), "")
        if said == sentence:
            yield "a sentence without the file", sentence[:LONGEST]
        elif not said.endswith(".") or _NOT_ON_A_LINE.search(said):
            yield "not a sentence", sentence[:LONGEST]
        elif len(said) > LONGEST:
            yield "a sentence that nobody reads to its end", f"{len(said)}: {said[:LONGEST]}"
    except BaseException as error:
        trace = "".join(traceback.format_exception(error, limit=-12))
        places = re.findall(r'File "[^"]*(LandmarkDetectionLib[^"]*)", line (\d+)', trace)
        where = ":".join(places[-1]) if places else "?"
        yield f"{type(error).__name__} in {where}", f"{str(error)[:200]}\n{trace[-3000:]}"


def _watch(box: Path) -> list[tuple[str, str]]:
    """Fills up with what this process does outside its folder, and with code that is run."""
    seen: list[tuple[str, str]] = []

    def note(event: str, values: tuple[object, ...]) -> None:
        if event in _CODE:
            seen.append((f"code is run: {event}", str(values)[:LONGEST]))
        elif event in _CHANGES or (event == "open" and isinstance(values[2], int) and values[2] & _WRITES):
            places = [item for item in values[:2] if isinstance(item, str | bytes | os.PathLike)]
            if not all(_is_below(os.fsdecode(place), box) for place in places if place != "w"):
                seen.append((f"outside: {event}", str(values)[:LONGEST]))

    sys.addaudithook(note)
    return seen


def _is_below(place: str, box: Path) -> bool:
    return place == os.devnull or Path(os.path.realpath(place)).is_relative_to(box.resolve())


def _print_kinds(failures: list[Failure]) -> None:
    kinds: defaultdict[str, list[Failure]] = defaultdict(list)
    for failure in failures:
        kinds[failure.what].append(failure)
    for what, alike in kinds.items():
        print(f"  {len(alike)} x {what}, first at {alike[0].number}:")
        print("    " + alike[0].details.replace("\n", "\n    "), flush=True)


if __name__ == "__main__":
    sys.exit(main())
