"""Where, when and with what a result was made, as the file beside it says."""

from __future__ import annotations

from collections.abc import Iterable

from rewire.record import Record

HOUR = 3600
PROVENANCE = "provenance.json"


class Provenance(Record):
    """Hardware, versions and commit of a process, and the wall-clock time of its work.

    No part of a result: it differs between two equal runs.

    Attributes:
        cpu, threads, gpu: of the machine, and what was used of it.
        sparse_engine: instructions of the compiled kernels; older files do not say.
        versions: of the libraries.
        commit: of the code; None outside a checkout.
        seconds: of the work, of all starts of a command that was stopped.
        elsewhere: other machine, in words, → the seconds of them that it was worked on there,
            before it went on here.
        arguments: of the command that did it, as far as they decide its result.
    """

    cpu: str
    threads: int
    gpu: str | None
    sparse_engine: str | None = None
    versions: dict[str, str]
    commit: str | None
    seconds: float | None = None
    elsewhere: dict[str, float] | None = None
    arguments: list[str] | None = None

    @property
    def machine(self) -> str:
        """Processor, accelerator and threads in words; of all machines, if there were several."""
        core = f"{self.cpu}, {self.threads} thread{'s' if self.threads > 1 else ''} per cell"
        return ", then ".join([*(self.elsewhere or {}), in_words(self.gpu, core)])

    @property
    def hours(self) -> float:
        """Of the work; 0 if unknown."""
        return hours([self])


def in_words(gpu: str | None, cpu: str) -> str:
    """Accelerator, if there is one, and processor."""
    return f"{gpu} with {cpu}" if gpu else cpu


def hours(records: Iterable[Provenance]) -> float:
    """Of the work of all of them; 0 where it is unknown."""
    return sum(record.seconds or 0 for record in records) / HOUR
