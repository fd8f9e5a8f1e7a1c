"""Times of 96 bits, as Spark, Hive and Impala wrote them for long: checked to lie where nanoseconds of 64 bits reach.

pyarrow reads them as such, and one of the year 9999 comes out as some day of 1816 without a word.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from engine.core.errors import DataError
from engine.formats.parquet.open_file import ParquetFile, open_parquet
from engine.schema.lists import is_list

__all__ = ["BeyondNanoseconds", "refuse_beyond_nanoseconds"]

_MOST_MICROSECONDS = (2**63 - 1) // 1000
_ROWS = 65536
_SPARK = "Spark: spark.sql.parquet.outputTimestampType=TIMESTAMP_MICROS"


class BeyondNanoseconds(DataError):
    """A time of 96 bits that nanoseconds of 64 do not reach: its row group cannot be read, as if it were damaged."""


def refuse_beyond_nanoseconds(file: ParquetFile, groups: Sequence[int], names: Sequence[str], path: str) -> None:
    """Checks the times of some row groups, by reading those columns once in microseconds, which reach further.

    Args:
        file: as it is opened for reading; it keeps which of its row groups were looked at.
        groups: row groups.
        names: columns that are read.
        path: of the file.

    Raises:
        BeyondNanoseconds: a time before 1677-09-21 or after 2262-04-11, with its record.
    """
    times = {name for name in file.int96 if name in names}
    if not times:
        return
    wide = open_parquet(path, int96_unit="us")
    for group in groups:
        if times <= file.int96_checked.get(group, set()):
            continue
        row = sum(file.footer.group_rows[:group])
        for batch in wide.iter_batches(_ROWS, [group], sorted(times)):
            for name, column in zip(batch.schema.names, batch.columns):
                if name in times and _beyond(column):
                    at = next(index for index in range(len(column)) if _beyond(column.slice(index, 1)))
                    value = f" {column.slice(at, 1).cast(pa.string())[0]}" if pa.types.is_timestamp(column.type) else ""
                    raise BeyondNanoseconds(
                        f"column {name!r} holds a time of 96 bits{value} here, and nanoseconds of 64 bits reach from 1677 to 2262: "
                        f"write it anew in microseconds ({_SPARK})",
                        path=path,
                        record=row + at,
                    )
            row += batch.num_rows
        file.int96_checked.setdefault(group, set()).update(times)


def _beyond(array: pa.Array) -> bool:
    types = pa.types
    if types.is_map(array.type):
        # Keys and items are those of the whole array, not of a slice.
        start, stop = array.offsets[0].as_py(), array.offsets[-1].as_py()
        return any(_beyond(values.slice(start, stop - start)) for values in (array.keys, array.items))
    if is_list(array.type):
        return _beyond(array.flatten())
    if types.is_struct(array.type):
        return any(_beyond(child) for child in array.flatten())
    if not types.is_timestamp(array.type) or array.type.unit != "us":
        return False
    ends = pc.min_max(array.cast(pa.int64()))
    least, most = ends["min"].as_py(), ends["max"].as_py()
    return least is not None and (least < -_MOST_MICROSECONDS or most > _MOST_MICROSECONDS)
