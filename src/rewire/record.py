"""What a stage measured: a typed record, which a JSON file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from rewire.errors import InputError
from rewire.files import read_json


class Record(BaseModel):
    """A part of a result. Its fields are keys of the file, in their order.

    What another version wrote beside them is passed over.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    def as_json(self) -> dict[str, Any]:
        """Plain values with the keys of the file, without those that were never given."""
        return self.model_dump(by_alias=True, exclude_unset=True)

    @classmethod
    def of(cls, plain: Any, *, file: str | Path) -> Self:
        """The record of the plain values of a file.

        Raises:
            InputError: if a number is missing or of another kind; names file and place.
        """
        try:
            return cls.model_validate(plain)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "all of it"
            raise InputError(
                f"'{file}' is not what this version reads: {place}: {first['msg']}. "
                "Run the stage that writes it again."
            ) from error

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The record in a JSON file; raises `InputError` if it is missing, broken, or another."""
        return cls.of(read_json(path), file=path)

    @classmethod
    def read_if_there(cls, path: str | Path) -> Self | None:
        """The same; None if there is no such file."""
        return cls.read(path) if Path(path).is_file() else None
