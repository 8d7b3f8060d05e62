"""The types of the tables' columns: the same values, the same order and the same equality in every database."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import BigInteger, Boolean, Dialect, LargeBinary, Numeric, String, Text, TypeDecorator
from sqlalchemy.dialects.mysql import BIGINT, DOUBLE, LONGBLOB, LONGTEXT, VARCHAR
from sqlalchemy.types import Double, TypeEngine

from penstock.stores.kinds import LONGEST


class Name(TypeDecorator[str]):
    """A text that is compared and sorted by its bytes: "a" is neither "A" nor "a "."""

    impl = String
    cache_ok = True

    def __init__(self, length: int = LONGEST) -> None:
        super().__init__(length)
        self._length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        length = self._length
        if dialect.name == "postgresql":
            return dialect.type_descriptor(String(length, collation="C"))
        if dialect.name == "mysql":
            # The usual binary order takes blanks at the end for nothing; the names of the one that does not differ.
            collation = "utf8mb4_nopad_bin" if getattr(dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
            return dialect.type_descriptor(VARCHAR(length, charset="utf8mb4", collation=collation))
        return dialect.type_descriptor(String(length))


class Said(Name):
    """A text that somebody gave: what is none is kept as JSON."""

    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


class Whole(TypeDecorator[int]):
    """A sum of picodollars: 38 digits, and what SQLite's integers take."""

    impl = Numeric
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(38, 0)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(BigInteger() if dialect.name == "sqlite" else Numeric(38, 0))

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:
        return None if value is None else int(value)


LONG = Text().with_variant(LONGTEXT(charset="utf8mb4"), "mysql")
BYTES = LargeBinary().with_variant(LONGBLOB(), "mysql")
TIME: Double[float] = Double().with_variant(DOUBLE(asdecimal=False), "mysql")
COUNT = BigInteger().with_variant(BIGINT(), "mysql")
FLAG = Boolean()
