"""Decoding: the same fields from the query string and from JSON, and a clear problem for everything else."""

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared import errors
from shared.web import Access, Fields, Operation, Request, Route, convert, decoding
from shared.web.route import HOST_PARAMETERS

LIMIT = 1000


class Sample(Fields, frozen=True):
    """One field of each kind that a request can contain."""

    text: str = "default"
    maybe: str | None = None
    number: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None
    flag: bool = False
    choice: Literal["raw", "der"] = "raw"
    params: list[Any] | dict[str, Any] | None = None
    key: str | dict[str, Any] | None = None


class Required(Fields, frozen=True):
    """Two required fields and an optional one."""

    name: str
    size: int
    note: str = ""


def decode(
    kind: type[Fields] | None,
    request: Request,
    limit: int,
    *,
    access: Access = Access.PUBLIC,
    reserved: frozenset[str] = HOST_PARAMETERS,
    **options: Any,
) -> Any:
    """The decoded fields of a request to a function with these options."""
    operation = Operation(lambda: None, kind, None, "", **options)
    route = Route("f", "f", ("GET", "POST"), access, lambda: {"f": operation}, reserved=reserved)
    return decoding.decode(route, operation, request, limit)


def get(query: str, kind: type[Fields] | None = Sample) -> Any:
    """The decoded fields of a GET with this query string."""
    return decode(kind, Request("GET", f"http://x/api/f{query}", {}, {}, b""), LIMIT)


def post(
    body: bytes, kind: type[Fields] | None = Sample, content_type: str = "application/json", query: str = ""
) -> Any:
    """The decoded fields of a POST with this body."""
    headers = {"content-type": content_type} if content_type else {}
    return decode(kind, Request("POST", f"http://x/api/f{query}", headers, {}, body), LIMIT)


def fields_of(problem: pytest.ExceptionInfo[errors.InvalidRequest]) -> set[str]:
    """The names of the fields that an error names."""
    return {each.field for each in problem.value.errors}


def test_no_query_string_gives_the_defaults() -> None:
    """A call without a query string gets every default."""
    assert get("") == get("?") == Sample()


def test_an_empty_value_is_a_value() -> None:
    """`maybe=` and `maybe` give the empty string, not a missing field."""
    assert get("?maybe=").maybe == ""
    assert get("?maybe").maybe == ""


def test_text_stays_text() -> None:
    """In a text field, text that looks like another type stays text."""
    assert get("?text=5&maybe=null").text == "5"
    assert get("?text=5&maybe=null").maybe == "null"
    assert get("?key=%7Bnot-json").key == "{not-json"


def test_other_fields_are_json() -> None:
    """Numbers, booleans, lists and objects are written as JSON in a query string."""
    assert get("?number=5&flag=true&params=[300,%22a%22]") == Sample(number=5, flag=True, params=[300, "a"])
    assert get('?params={"id":1}').params == {"id": 1}


@pytest.mark.parametrize(
    "query", ["number=", "number=null", "number=five", "number=1.5", "number=1e999", "flag=yes", "flag=1"]
)
def test_a_value_of_the_wrong_type_names_its_field(query: str) -> None:
    """A query value that is not of its field's type is refused with the field's name."""
    with pytest.raises(errors.InvalidRequest) as problem:
        get("?" + query)
    assert fields_of(problem) == {query.partition("=")[0]}


def test_every_value_of_the_wrong_type_is_named() -> None:
    """One error names every query value of a wrong type, and explains how to write such a value, or its fault."""
    with pytest.raises(errors.InvalidRequest) as problem:
        get("?number=five&flag=yes&params=[1")
    assert fields_of(problem) == {"number", "flag", "params"}
    assert problem.value.detail.count("In a URL, write it as JSON") == 2
    assert "`params` is not JSON. The JSON ends too early." in problem.value.detail


@pytest.mark.parametrize("name", ["code", "Code", "CODE", "clientId", "clientid"])
def test_parameters_of_the_host_are_ignored(name: str) -> None:
    """Parameters that the host and the portal add are not fields, neither in a GET nor in a POST."""
    assert get(f"?{name}=x&text=a").text == "a"
    assert post(b'{"text":"a"}', query=f"?{name}=x").text == "a"


def test_a_repeated_parameter_is_refused() -> None:
    """A parameter that occurs twice is refused by name, also if the two differ only in their encoding."""
    for query in ("?text=a&text=b", "?text=a&te%78t=b"):
        with pytest.raises(errors.DuplicateParameter, match="text"):
            get(query)


def test_all_wrong_fields_are_named_at_once() -> None:
    """One error names every unknown, missing and mistyped field, in a GET and in a POST."""
    with pytest.raises(errors.InvalidRequest) as problem:
        post(b'{"nmae": "x", "size": "big", "zzz": 1}', Required)
    assert fields_of(problem) == {"name", "size", "nmae", "zzz"}
    with pytest.raises(errors.InvalidRequest) as problem:
        get("?nmae=x&zzz=1", Required)
    assert fields_of(problem) == {"name", "size", "nmae", "zzz"}


def test_a_value_out_of_bounds_names_its_field() -> None:
    """A number over its maximum is refused with the bound in the detail."""
    with pytest.raises(errors.InvalidRequest) as problem:
        post(b'{"number": 101}')
    (only,) = problem.value.errors
    assert only.field == "number"
    assert "100" in only.detail


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"not json", errors.InvalidJson),
        (b'{"text": "a"} trailing', errors.InvalidJson),
        (b'{"text": "\\ud800"}', errors.InvalidJson),
        (b'\xef\xbb\xbf{"text": "a"}', errors.InvalidJson),
        (b'{"text": "\xff"}', errors.NotUtf8),
        (b"[]", errors.NotAnObject),
        (b"null", errors.NotAnObject),
        (b'"text"', errors.NotAnObject),
        (b'{"params": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", errors.BodyTooLarge),
        (b"x" * (LIMIT + 1), errors.BodyTooLarge),
    ],
)
def test_each_bad_body_has_its_own_error(body: bytes, error: type[errors.StrongroomError]) -> None:
    """Not JSON, not UTF-8, not an object and too large are four different errors."""
    with pytest.raises(error):
        post(body)


@pytest.mark.parametrize("place", ["params", "unknown", "text"])
def test_deep_nesting_is_refused(place: str) -> None:
    """JSON nested a hundred thousand deep is refused, in a field that takes any JSON and elsewhere."""
    body = f'{{"{place}": {"[" * 100_000}{"]" * 100_000}}}'.encode()
    request = Request("POST", "http://x/api/f", {"content-type": "application/json"}, {}, body)
    with pytest.raises(errors.NestedTooDeep):
        decode(Sample, request, len(body))


def test_a_body_at_the_limit_is_accepted() -> None:
    """A body of exactly the limit is accepted."""
    body = json.dumps({"text": "a" * (LIMIT - 12)}).encode()
    assert len(body) == LIMIT
    assert len(post(body).text) == LIMIT - 12


def test_an_empty_body_is_an_empty_object() -> None:
    """A POST without a body gets the defaults, or an error that names the missing fields."""
    assert post(b"", content_type="") == Sample()
    with pytest.raises(errors.InvalidRequest) as problem:
        post(b"", Required)
    assert fields_of(problem) == {"name", "size"}


@pytest.mark.parametrize(
    ("content_type", "taken"),
    [
        ("", True),
        ("application/json", True),
        ("Application/JSON; charset=UTF-8", True),
        ('application/json;charset="utf-8"', True),
        ("application/merge-patch+json", True),
        ("application/json; charset=latin-1", False),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        ("application/jsonp", False),
    ],
)
def test_the_body_must_be_json(content_type: str, taken: bool) -> None:
    """A Content-Type that is neither absent nor JSON in UTF-8 is refused."""
    if taken:
        assert post(b'{"text": "a"}', content_type=content_type).text == "a"
    else:
        with pytest.raises(errors.UnsupportedMediaType):
            post(b'{"text": "a"}', content_type=content_type)


def test_fields_come_from_one_place() -> None:
    """A query string beside a body, and a body beside a query string, are refused."""
    with pytest.raises(errors.QueryBesideBody, match="text"):
        post(b"{}", query="?text=a")
    with pytest.raises(errors.UnexpectedBody):
        decode(Sample, Request("GET", "http://x/api/f", {}, {}, b"{}"), LIMIT)


@pytest.mark.parametrize(
    "query", ["password=x", "Old_Password=x", "token=a.b.c", "public_key=-----BEGIN%20PRIVATE%20KEY-----"]
)
def test_a_secret_in_the_url_is_refused(query: str) -> None:
    """A secret in the query string is refused as such, with every method and before any other check."""
    for method in ("GET", "POST", "DELETE"):
        with pytest.raises(errors.SecretInUrl):
            decode(Sample, Request(method, f"http://x/api/f?{query}&{query}", {}, {}, b""), LIMIT)


def test_a_dropped_chunked_body_is_refused() -> None:
    """A chunked request whose body the host dropped gets an error that says what to do."""
    headers = {"transfer-encoding": "chunked", "content-type": "application/json"}
    with pytest.raises(errors.LengthRequired):
        decode(Sample, Request("POST", "http://x/api/f", headers, {}, b""), LIMIT)
    assert decode(Sample, Request("POST", "http://x/api/f", headers, {}, b'{"text":"a"}'), LIMIT) == Sample(text="a")


def test_fields_of_the_path_join_the_others() -> None:
    """A value in the path is a field like any other, and cannot occur a second time."""

    def call(method: str, query: str = "", body: bytes = b"") -> Any:
        return decode(Required, Request(method, f"http://x/api/f/a{query}", {}, {"name": "a"}, body), LIMIT)

    assert call("GET", "?size=5") == call("PATCH", body=b'{"size": 5}') == Required(name="a", size=5)
    for twice in (("GET", "?size=5&name=b", b""), ("PATCH", "", b'{"size": 5, "name": "b"}')):
        with pytest.raises(errors.InvalidRequest) as problem:
            call(*twice)
        assert fields_of(problem) == {"name"}


def test_a_function_without_fields_takes_none() -> None:
    """A function without fields refuses a parameter by name, and works without one."""
    assert get("?code=x", None) is None
    with pytest.raises(errors.InvalidRequest) as problem:
        get("?x=1", None)
    assert fields_of(problem) == {"x"}
    assert post(b"{}", None) is post(b"", None) is None
    with pytest.raises(errors.InvalidRequest) as problem:
        post(b'{"x": 1}', None)
    assert fields_of(problem) == {"x"}
    with pytest.raises(errors.NotAnObject):
        post(b"[]", None)


def test_bad_percent_encoding_is_refused() -> None:
    """A parameter whose percent-encoding is not UTF-8 is refused, in its name and in its value."""
    for query in ("?text=%FF", "?%FF=a"):
        with pytest.raises(errors.NotUtf8):
            get(query)


def test_a_request_shows_no_value() -> None:
    """The repr of a decoded request contains nothing that the caller sent."""
    assert "hunter2" not in repr(get("?text=hunter2"))


TEXTS = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: "PRIVATE KEY-----" not in text)
"""Texts that a URL may contain: private keys it may not."""


@given(TEXTS, st.integers(1, 100), st.booleans())
@example("a+b &=%#?/", 1, True)
def test_query_and_body_decode_alike(text: str, number: int, flag: bool) -> None:
    """Any text without a secret, number and flag decode to the same value from a query string and from a body."""
    body = json.dumps({"text": text, "number": number, "flag": flag}).encode()
    tail = f"&number={number}&flag={json.dumps(flag)}"
    request = Request("POST", "http://x/api/f", {}, {}, body)
    by_post = decode(Sample, request, len(body))
    assert by_post == Sample(text=text, number=number, flag=flag)
    assert get(f"?text={quote_plus(text)}{tail}") == get(f"?text={quote(text, safe='')}{tail}") == by_post


def outcome(call: Callable[[], object]) -> object:
    """The decoded fields of a call, or the status of its error."""
    try:
        return call()
    except errors.StrongroomError as error:
        return error.status


@given(st.binary(max_size=200))
def test_any_body_is_decoded_or_refused(body: bytes) -> None:
    """Any bytes as the body give fields or a 4xx error, never another exception."""
    found = outcome(lambda: post(body))
    assert isinstance(found, Sample) or found == 400


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=100))
def test_any_query_is_decoded_or_refused(query: str) -> None:
    """Any text after the question mark gives fields or a 4xx error, never another exception."""
    found = outcome(lambda: get("?" + query))
    assert isinstance(found, Sample) or found == 400


class Conditional(Fields, frozen=True):
    """A request with fields in path, query, body and headers."""

    name: str
    if_match: str | None = None
    count: int = 0


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_header_is_a_field(method: str) -> None:
    """A header that the operation names becomes a text field; others do not."""
    request = Request(
        method,
        "https://x/api/f" + ("?count=2" if method == "GET" else ""),
        {"if-match": '"0x1"', "if-none-match": "*"},
        {"name": "n"},
        b'{"count": 2}' if method == "POST" else b"",
    )
    assert decode(Conditional, request, 1000, headers=("if-match",)) == Conditional(name="n", if_match='"0x1"', count=2)


def test_a_header_field_comes_only_from_the_header() -> None:
    """A field that is a header is refused in the query string and in the body."""
    for request in (
        Request("GET", "https://x/api/f?if_match=1", {}, {"name": "n"}, b""),
        Request("POST", "https://x/api/f", {}, {"name": "n"}, b'{"if_match": "1"}'),
    ):
        with pytest.raises(errors.InvalidRequest, match="header if-match"):
            decode(Conditional, request, 1000, headers=("if-match",))


def test_a_raw_body_is_not_read() -> None:
    """With a raw body the fields are in path and query on any method, and the body is bytes of any kind and size."""
    request = Request("PUT", "https://x/api/f?count=3", {"content-type": "image/png"}, {"name": "n"}, b"\xff" * 2000)
    assert decode(Conditional, request, 1000, raw=True) == Conditional(name="n", count=3)


class Anchored(Fields, frozen=True):
    """Fields with a pattern and with whole numbers at several depths."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z]+\Z")] = "a"
    count: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    counts: list[int] | None = None
    by_name: dict[str, int] | None = None
    ratio: float = 0.0
    params: list[Any] | None = None


def test_a_line_feed_at_the_end_is_refused() -> None:
    """A pattern covers the whole text, in a body and in a query string."""
    with pytest.raises(errors.InvalidRequest) as problem:
        post(b'{"name": "abc\\n"}', Anchored)
    assert fields_of(problem) == {"name"}
    with pytest.raises(errors.InvalidRequest) as problem:
        get("?name=abc%0A", Anchored)
    assert fields_of(problem) == {"name"}


@pytest.mark.parametrize("number", ["5.0", "5e0", "0.5e1", "50e-1"])
def test_a_whole_number_is_an_integer_however_it_is_written(number: str) -> None:
    """JSON Schema calls 5.0 an integer, in a field, a list, an object and a query string; a fraction is refused."""
    body = f'{{"count": {number}, "counts": [{number}], "by_name": {{"a": {number}}}}}'.encode()
    assert post(body, Anchored) == Anchored(count=5, counts=[5], by_name={"a": 5})
    assert get(f"?count={number}", Anchored).count == 5
    with pytest.raises(errors.InvalidRequest) as problem:
        post(b'{"count": 5.5, "counts": [1.0, 1.5]}', Anchored)
    assert fields_of(problem) == {"count", "counts[1]"}


def test_numbers_are_unchanged_in_a_field_for_any_json() -> None:
    """`params` takes any JSON, so 5.0 stays a real number there, and so it does in a field for real numbers."""
    fields = post(b'{"count": 1.0, "ratio": 2.0, "params": [5.0, 5]}', Anchored)
    assert [type(each) for each in fields.params] == [float, int]
    assert (type(fields.ratio), fields.count) == (float, 1)


@pytest.mark.parametrize(
    "body",
    [
        b'{"text": "a", "text": "a"}',
        b'{"text": "a", "te\\u0078t": "b"}',
        b'{"params": {"a": 1, "a": 2}}',
        b'{"params": [[{"a": 1, "a": 2}]]}',
        b'{"text": ":\\":", "params": {"x:": 1, "x:": 2}}',
    ],
)
def test_a_key_that_occurs_twice_is_refused(body: bytes) -> None:
    """A key occurs once in an object, at any depth and in any spelling."""
    with pytest.raises(errors.DuplicateKey):
        post(body)


@given(
    st.dictionaries(st.text(alphabet='a:"\\\\{}', max_size=5), st.text(alphabet='a:"\\\\,{}', max_size=8), max_size=5)
)
def test_colons_in_texts_are_not_keys(params: dict[str, str]) -> None:
    """Colons and quotes in keys and texts never make a correct body look like one with a key twice."""
    assert post(json.dumps({"params": params}).encode(), Sample).params == params


def test_an_error_lists_the_first_twenty_fields() -> None:
    """However many fields are wrong, an error names twenty, each name cut to 64 characters, and counts them all."""
    body = json.dumps({"x" * 1000 + str(index): 1 for index in range(5000)}).encode()
    request = Request("POST", "http://x/api/f", {}, {}, body)
    with pytest.raises(errors.InvalidRequest) as problem:
        decode(Sample, request, len(body))
    assert (len(problem.value.errors), problem.value.error_count) == (20, 5000)
    assert all(len(each.field) == 64 for each in problem.value.errors)
    assert len(problem.value.detail) < 5000
    query = "&".join(f"x{index}=1" for index in range(30))
    for kind in (Sample, None):
        with pytest.raises(errors.InvalidRequest) as problem:
            get("?" + query, kind)
        assert (len(problem.value.errors), problem.value.error_count) == (20, 30)


def test_a_route_has_its_own_reserved_parameters() -> None:
    """Where a route reserves no parameter, `code` is a field like any other."""

    class Callback(Fields, frozen=True):
        code: str

    request = Request("GET", "http://x/api/f?code=abc", {}, {}, b"")
    assert decode(Callback, request, LIMIT, reserved=frozenset()) == Callback(code="abc")


def test_a_form_is_decoded_where_the_function_takes_one() -> None:
    """The fields of a form are those of a query string; `+` is a blank, and a repeated field is refused."""
    headers = {"content-type": "application/x-www-form-urlencoded; charset=UTF-8"}

    def call(body: bytes) -> Any:
        return decode(Sample, Request("POST", "http://x/api/f", headers, {}, body), LIMIT, form=True)

    assert call(b"text=a+b%2B&number=5") == Sample(text="a b+", number=5)
    with pytest.raises(errors.DuplicateParameter):
        call(b"text=a&text=b")
    for wrong in (b"text=%FF", b"text=\xff"):
        with pytest.raises(errors.NotUtf8):
            call(wrong)


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_a_session_needs_a_json_type(body: bytes) -> None:
    """Where a session authorises the call, a POST without Content-Type is refused: any page could send it."""
    with pytest.raises(errors.UnsupportedMediaType):
        decode(Sample, Request("POST", "http://x/api/f", {}, {}, body), LIMIT, access=Access.SESSION)
    json_type = {"content-type": "application/json"}
    assert (
        decode(Sample, Request("POST", "http://x/api/f", json_type, {}, body), LIMIT, access=Access.SESSION) == Sample()
    )


@pytest.mark.parametrize("query", ["utm_source=mail&fbclid=x", "text=b&text=c", "password=x", "x=%ff", "text=%ff"])
def test_the_query_is_ignored_where_the_function_says_so(query: str) -> None:
    """A public link works with whatever parameters other sites append to it."""
    request = Request("GET", f"http://x/api/f?{query}", {}, {"text": "a"}, b"")
    assert decode(Sample, request, LIMIT, ignore_query=True) == Sample(text="a")


def test_an_item_of_a_batch_has_its_own_errors() -> None:
    """`convert` decodes one item as a request is decoded, and names its wrong fields."""
    assert convert(Anchored, {"count": 5.0}) == Anchored(count=5)
    with pytest.raises(errors.InvalidRequest) as problem:
        convert(Anchored, {"cuont": 5})
    assert fields_of(problem) == {"cuont"}


def test_a_body_has_a_bounded_number_of_values() -> None:
    """Many small values are refused before they take many times their size in memory; characters in texts are free."""

    def call(body: bytes) -> Any:
        return decode(Sample, Request("POST", "http://x/api/f", {}, {}, body), len(body))

    for body in (
        b'{"params": [' + b'{"a":1},' * decoding.MAX_CONTAINERS + b"1]}",
        b'{"params": [' + b"0," * decoding.MAX_VALUES + b"0]}",
        b'{"params": [' + b'"\\\\\\"",' * decoding.MAX_VALUES + b"0]}",
    ):
        with pytest.raises(errors.TooManyValues):
            call(body)
    text = ',{["' * decoding.MAX_VALUES
    assert call(json.dumps({"text": text}).encode()).text == text
    values = [0] * (decoding.MAX_VALUES - 3)
    assert call(json.dumps({"params": values}).encode()).params == values


class Encoded(Fields, frozen=True):
    """Fields with base64 in them."""

    message_base64: str = ""
    signature: str = ""
    text: str = ""


def test_a_plus_lost_in_a_url_is_explained() -> None:
    """In a URL, a space in base64 gets an error that explains the lost `+`; a JSON body has no such problem."""
    for name in ("message_base64", "signature"):
        with pytest.raises(errors.InvalidRequest, match="%2B") as problem:
            get(f"?{name}=ab+c", Encoded)
        assert fields_of(problem) == {name}
        assert getattr(post(json.dumps({name: "ab c"}).encode(), Encoded), name) == "ab c"
    assert get("?text=ab+c", Encoded).text == "ab c"


FAULTS = {
    '"\\ud800"': "half of a surrogate pair",
    '"\\ud800 and more text"': "half of a surrogate pair",
    '"\\udc00"': "half of a surrogate pair",
    '"\\ud800\\u0041"': "half of a surrogate pair",
    "[NaN]": "NaN or Infinity",
    "[-Infinity]": "NaN or Infinity",
    "[True]": "lower-case letters",
    "[None]": "lower-case letters",
    "[01]": "number of a wrong form",
    "[1.]": "number of a wrong form",
    "[.5]": "number of a wrong form",
    "[+1]": "number of a wrong form",
    "[-]": "number of a wrong form",
    "[0x10]": "number of a wrong form",
    "[1e999]": "larger than 1.8e308",
    '["a\nb"]': r"control character U\+000A",
    '["a\x00b"]': r"control character U\+0000",
    "[1,]": "comma before the closing bracket",
    '{"a":1,}': "comma before the closing bracket",
    "{'a':1}": "straight double quotes",
    "[“a”]": "straight double quotes",
    "{a:1}": "each key into double quotes",
    '{"a" 1}': "is not a colon",
    '{"a":1 "b":2}': "comma between two members",
    "[1 2]": "comma between two items",
    "[/* a */ 1]": "begins a comment",
    "[1] // a": "begins a comment",
    "[1][2]": "Send one value",
    "[1": "ends too early",
    '["C:\\Users"]': "not an escape|hexadecimal digit",
    '["\\u12"]': "hexadecimal digit",
    '["\\q"]': "not an escape",
}


@pytest.mark.parametrize("text", FAULTS)
def test_each_fault_of_json_has_its_own_sentence(text: str) -> None:
    """A body that is not JSON, and a query parameter, get a sentence on the fault, which quotes nothing of the text."""
    with pytest.raises(errors.InvalidJson, match=FAULTS[text]):
        post(text.encode())
    with pytest.raises(errors.InvalidRequest, match=FAULTS[text]) as problem:
        get(f"?params={quote(text)}")
    assert fields_of(problem) == {"params"}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"  \n", "is blank"),
        (b'\xef\xbb\xbf{"text": "a"}', "byte order mark"),
        ('{"text": "a"}'.encode("utf-16"), "UTF-16"),
        ('{"text": "a"}'.encode("utf-16-le"), "UTF-16"),
        ('{"text": "a"}'.encode("utf-16-be"), "UTF-16"),
        ('{"text": "a"}'.encode("utf-32"), "UTF-16 or UTF-32"),
        (b"{}\n{}", "Byte 3 of the JSON follows the end"),
        (b'{"text": secret}', "^Byte 9 of the JSON is a word that JSON does not have"),
    ],
)
def test_each_fault_of_a_body_has_its_own_sentence(body: bytes, sentence: str) -> None:
    """Other encodings, a byte order mark, two documents and a blank body get a sentence on the fault."""
    with pytest.raises(errors.InvalidJson, match=sentence):
        post(body)


@given(st.binary(max_size=60))
@example(b'{"a":"\\ud83d\\ude00 \\ud800 and a longer text"}')
def test_any_body_has_an_error_of_the_app(body: bytes) -> None:
    """Whatever the bytes, they decode, or the error is a BadRequest whose detail ends as a sentence."""
    detail = "."
    try:
        post(body)
    except errors.StrongroomError as error:
        detail = error.detail
    assert detail.endswith(".")


def test_a_word_in_a_url_keeps_the_message_of_its_type() -> None:
    """A word where a query parameter takes a number is an error of the type."""
    with pytest.raises(errors.InvalidRequest, match=r"expected `int.*, such as 5"):
        get("?number=many")
