"""The SQL by which DuckDB reads data files: names, literals, table functions, and the columns of views. Pure."""

from collections.abc import Sequence
from typing import Any

from shared.data.names import path_text

BUFFER_BYTES = 4 * 1024 * 1024
"""What is read of a CSV file at once; a line has at most half of it."""
MAX_OBJECT_BYTES = 2 * 1024 * 1024
"""The longest object in a JSON file."""


def quoted(name: str) -> str:
    """A name in quotes, as an identifier."""
    return '"{}"'.format(name.replace('"', '""'))


def literal(text: str) -> str:
    """A text as a literal."""
    return "'{}'".format(text.replace("'", "''"))


def text_list(texts: Sequence[str]) -> str:
    """Texts as a list."""
    return f"[{', '.join(map(literal, texts))}]"


def source_of(file_format: str, options: dict[str, Any], partitions: list[list[str]], paths: list[str]) -> str:
    """The table function that reads the files; `partitions` are the names and types of their Hive partitions."""
    arguments = [text_list(paths)]
    if options.get("union_by_name"):
        arguments.append("union_by_name = true")
    if partitions:
        types = ", ".join(f"{quoted(path_text(name))}: {kind}" for name, kind in partitions)
        arguments += ["hive_partitioning = true", f"hive_types = {{{types}}}"]
    else:
        arguments.append("hive_partitioning = false")
    if file_format == "parquet":
        return f"read_parquet({', '.join(arguments)})"
    if options.get("gzip"):
        arguments.append("compression = 'gzip'")
    if file_format != "csv":
        kind = "newline_delimited" if file_format == "ndjson" else "array" if options.get("array") else "auto"
        if options.get("as_text"):
            kept = [arguments[0], *(each for each in arguments if each.startswith("compression"))]
            kept += [f"format = '{kind}'", f"maximum_object_size = {MAX_OBJECT_BYTES}"]
            return f"read_json_objects({', '.join(kept)})"
        arguments += [f"format = '{kind}'", f"maximum_object_size = {MAX_OBJECT_BYTES}"]
        return f"read_json({', '.join(arguments)})"
    arguments += [f"buffer_size = {BUFFER_BYTES}", f"max_line_size = {BUFFER_BYTES // 2}"]
    if (delimiter := options.get("delimiter")) is not None:
        arguments.append(f"delim = {literal(delimiter)}")
    if (header := options.get("header")) is not None:
        arguments.append(f"header = {str(header).lower()}")
    if (null_values := options.get("null_values")) is not None:
        arguments.append(f"nullstr = {text_list(null_values)}")
    if (kinds := options.get("types")) and not options.get("as_text"):
        pairs = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in kinds.items())
        arguments.append(f"types = {{{pairs}}}")
    if options.get("as_text"):
        arguments += ["all_varchar = true", "allow_quoted_nulls = false", "quote = '\"'", "escape = '\"'"]
        arguments.append("comment = ''")
    return f"read_csv({', '.join(arguments)})"


def view_columns(file_format: str, options: dict[str, Any], partitions: list[list[str]]) -> str:
    """The columns of a view: all, some with another type, and partitions with their names."""
    selected = "*"
    types = options.get("types")
    if types and (file_format == "parquet" or (file_format != "csv" and not options.get("as_text"))):
        casts = (f"{quoted(name)}::{kind} as {quoted(name)}" for name, kind in types.items())
        selected += f" replace ({', '.join(casts)})"
    if renamed := [name for name, _ in partitions if path_text(name) != name]:
        selected += f" rename ({', '.join(f'{quoted(path_text(name))} as {quoted(name)}' for name in renamed)})"
    return selected


def partition_values(columns: list[list[str]], rows: list[list[str]]) -> str:
    """The partitions of the files as a table, in the types that `hive_types` gives them."""
    lines = ", ".join(f"({number}, {', '.join(map(_partition, row))})" for number, row in enumerate(rows))
    names = [quoted(name) for name, _ in columns]
    casts = [f"{name}::{kind} as {name}" for name, (_, kind) in zip(names, columns, strict=True)]
    return f"select __file, {', '.join(casts)} from (values {lines}) as t(__file, {', '.join(names)})"


def _partition(value: str) -> str:
    return "null" if value == "__HIVE_DEFAULT_PARTITION__" else literal(value)
