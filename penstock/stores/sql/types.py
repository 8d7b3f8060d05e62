"""The types of the tables' columns: the same values, the same order and the same equality in every database.

MySQL's own are imported where there is a MySQL: with PostgreSQL's they are 4 MB that an SQLite does not need.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import BigInteger, Boolean, Dialect, Double, LargeBinary, Numeric, String, Text, TypeDecorator
from sqlalchemy.types import TypeEngine

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
            from sqlalchemy.dialects.mysql import VARCHAR

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


class LongText(TypeDecorator[str]):
    """A text of any length."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name != "mysql":
            return Text()
        from sqlalchemy.dialects.mysql import LONGTEXT

        return LONGTEXT(charset="utf8mb4")


class LongBytes(TypeDecorator[bytes]):
    """Bytes of any length."""

    impl = LargeBinary
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name != "mysql":
            return LargeBinary()
        from sqlalchemy.dialects.mysql import LONGBLOB

        return LONGBLOB()


class Seconds(TypeDecorator[float]):
    """A time, and what one takes."""

    impl = Double
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name != "mysql":
            return Double()
        from sqlalchemy.dialects.mysql import DOUBLE

        return DOUBLE(asdecimal=False)


LONG = LongText()
BYTES = LongBytes()
TIME = Seconds()
COUNT = BigInteger()
FLAG = Boolean()
