"""What SQLite's authorizer allows: the functions that are short, and the pragmas that only read."""

import re

SHORT_FUNCTIONS = frozenset(
    {
        "abs", "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "avg", "ceil", "ceiling", "changes",
        "coalesce", "concat", "concat_ws", "cos", "cosh", "count", "cume_dist", "current_date", "current_time",
        "current_timestamp", "date", "datetime", "degrees", "dense_rank", "exp", "first_value", "floor", "group_concat",
        "if", "ifnull", "iif", "julianday", "lag", "last_insert_rowid", "last_value", "lead", "length", "likelihood",
        "likely", "ln", "log", "log10", "log2", "lower", "max", "min", "mod", "nth_value", "ntile", "nullif",
        "octet_length", "percent_rank", "pi", "pow", "power", "radians", "rank", "round", "row_number", "sign", "sin",
        "sinh", "sqlite_source_id", "sqlite_version", "sqrt", "string_agg", "substr", "substring", "sum", "tan", "tanh",
        "time", "timediff", "total", "total_changes", "trunc", "typeof", "unicode", "unixepoch", "unlikely", "upper",
    }
)  # fmt: skip
"""Functions of which one call takes under 50 ms, with any values within MAX_VALUE_BYTES."""
LONG_TABLES = frozenset({"json_each", "json_tree", "jsonb_each", "jsonb_tree"})
"""Tables whose rows are computed by functions that can take long."""
LONG_SCHEMA = re.compile(
    r"\b(?:like|glob|match|regexp)\b|->|\b(?!(?:" + "|".join(SHORT_FUNCTIONS) + r")\s*\()"
    r"(?:json\w*|replace|l?r?trim|instr|printf|format|hex|unhex|quote|char|zeroblob|randomblob|strftime|median|"
    r"percentile\w*|soundex|unistr\w*)\s*\(",
    re.IGNORECASE,
)
"""Such functions in the definition of a table or an index, of which the authorizer does not hear."""

PRAGMAS = frozenset(
    {
        "application_id",
        "collation_list",
        "compile_options",
        "data_version",
        "encoding",
        "foreign_key_check",
        "foreign_key_list",
        "freelist_count",
        "function_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "module_list",
        "page_count",
        "page_size",
        "pragma_list",
        "quick_check",
        "schema_version",
        "table_info",
        "table_list",
        "table_xinfo",
        "user_version",
    }
)
"""The pragmas that any caller may read."""
PRAGMAS_WITH_ARGUMENT = frozenset(
    {
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "quick_check",
        "table_info",
        "table_list",
        "table_xinfo",
    }
)
"""The pragmas whose argument names their subject; any other pragma's argument sets a value."""
