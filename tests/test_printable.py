"""Make text safe to print."""

import string

from hypothesis import given
from hypothesis import strategies as st

from bigbatch.printable import printable

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # half characters (surrogates) too


@given(ANY_TEXT)
def test_what_is_printed_is_one_line_that_no_terminal_obeys(text):
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    shown.encode()  # it can be written
    assert printable(shown) == shown


@given(st.text(string.ascii_letters + string.digits + string.punctuation + " äé中🙂"))
def test_plain_text_stays_as_it_is(text):
    assert printable(text) == text


def test_what_a_hostile_file_may_hold_is_spelled_out():
    assert printable("a\r\nb\x1b[1A\x9b2K\x07\x7f") == r"a\r\nb\x1b[1A\x9b2K\x07\x7f"
    assert printable("\u202e\u2066\u200b\u2028\ud800") == r"\u202e\u2066\u200b\u2028\ud800"
